"""Every kind of damage is found under its own name, at the file it was done to, and repaired where that can be."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines import make_shards
from pipelines.errors import ShardingError
from pipelines.samples.scenes import make_sample_data
from pipelines.storage.index import load_index, save_index
from pipelines.storage.manifest import MANIFEST_NAME, NAMES_NAME, ShardColumns

from .checked_sets import check, flip, kinds, manifest_of, rewrite_manifest
from .conftest import png
from .remote_sets import make_sets
from .shard_files import write_shard

TAR = "image-000001.tar"
INDEX, NAMES = f"{TAR}.index.npy", NAMES_NAME
VIDEO_FRAMES = "video-000001.tar.frames.npy"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whole_sets(tmp_path_factory.mktemp("made"))


def make_whole_sets(home: Path) -> Path:
    """Sets in image, audio and video; in scenes one with labels and classes, which was appended to."""
    sets = make_sets(home)
    files = home / "scenes"
    for number, name in enumerate(("a", "b")):
        make_sample_data(files / name, num=9, size=32, seed=number)
    make_shards(files, sets / "scenes", workers=0, shard_examples=6, classes=True)
    make_sample_data(files / "c", num=5, size=32, seed=7)
    make_shards(files, sets / "scenes", workers=0, shard_examples=6, classes=True, append=True)
    return sets


@pytest.fixture
def sets(made: Path, tmp_path: Path) -> Path:
    return copy_of_sets(made, tmp_path)


def copy_of_sets(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage, and pictures that some damage is made of."""
    shutil.copytree(made.parent / "files" / "image" / "p", tmp_path / "sets" / "pictures")
    return Path(shutil.copytree(made, tmp_path / "sets", dirs_exist_ok=True))


def test_whole_sets_have_no_finding(made: Path) -> None:
    report = check(made, decode=True)
    assert [one.modality for one in report.sets] == ["audio", "image", "image", "video"]
    assert report.findings == []
    assert report.is_sound
    assert all(one.notes == () for one in report.sets)
    audio, image, scenes, video = (one.summary for one in report.sets)
    assert (audio.examples, image.examples, scenes.examples, video.examples) == (6, 40, 23, 3)
    assert image.sizes == {"28x20": 40}
    assert image.fields == {"json": 40, "png": 40}
    assert video.frames.total == 12 + 13 + 14
    assert scenes.labels.total() == 23


def cut(folder: Path) -> None:
    content = (folder / TAR).read_bytes()
    (folder / TAR).write_bytes(content[: len(content) // 2])


def swap(folder: Path, suffix: str = "") -> None:
    one, other = folder / f"{TAR}{suffix}", folder / f"image-000002.tar{suffix}"
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def in_payload(folder: Path) -> None:
    flip(folder / TAR, 5 * 512 + 77, 3)


def in_manifest(folder: Path, old: str, new: str) -> None:
    text = (folder / MANIFEST_NAME).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (folder / MANIFEST_NAME).write_text(text.replace(old, new), encoding="utf-8")


def wrong_count(folder: Path) -> None:
    manifest = manifest_of(folder)
    columns = {name: list(getattr(manifest.shards, name)) for name in ShardColumns.__dataclass_fields__}
    columns["examples"][1] += 1
    rewrite_manifest(folder, replace(manifest, shards=ShardColumns(**columns)))


def lines(change: Callable[[list[str]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        found = (folder / NAMES).read_text(encoding="utf-8").splitlines()
        change(found)
        (folder / NAMES).write_text("\n".join(found) + "\n", encoding="utf-8")

    return damage


def rename_in_line(found: list[str]) -> None:
    key, path = json.loads(found[3])
    found[3] = json.dumps([f"{key}x", path.replace(".png", "x.png")])


def repeat_a_line(found: list[str]) -> None:
    found[3] = found[4]


def append_bytes(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.write(b"garbage" * 100)

    return damage


def index_of_another(folder: Path) -> None:
    """Of a tar of the same number of examples that is not in the set."""
    write_shard(folder.parent / "other.tar", 0, 6)
    shutil.rmtree(folder.parent / "more", ignore_errors=True)
    (folder.parent / "more").mkdir()
    with tarfile.open(folder.parent / "other.tar") as tar:
        tar.extractall(folder.parent / "more", filter="data")
    for number, path in enumerate(sorted((folder.parent / "more").iterdir())):
        path.with_suffix(".txt").write_text("caption" * 200 * number)
        shutil.copy(sorted((folder.parents[0] / "pictures").iterdir())[number], path.with_suffix(".png"))
        path.unlink()
    make_shards(folder.parent / "more", folder.parent / "packed", workers=0)
    shutil.copy(folder.parent / "packed" / "image-000000.tar.index.npy", folder / INDEX)


def change_a_table(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace("1", "2", 1), encoding="utf-8")

    return damage


def unfinished(folder: Path) -> None:
    (folder / ".make_shards").mkdir()
    (folder / ".make_shards" / "plan.json").write_text("{}")


def only_unfinished(folder: Path) -> None:
    unfinished(folder)
    (folder / MANIFEST_NAME).unlink()
    (folder / NAMES).unlink()


Damage = Callable[[Path], object]
MANIFEST = MANIFEST_NAME
CASES: dict[str, tuple[str, Damage, set[tuple[str, str]], bool]] = {
    # name: set, damage, findings by kind and file, whether --repair mends all of it
    "cut tar": ("image", cut, {("cut-tar", TAR)}, False),
    "swapped tars": ("image", swap, {("swapped-tar", TAR), ("swapped-tar", "image-000002.tar")}, False),
    "bit of a payload": ("image", in_payload, {("damaged-tar", TAR), ("damaged-example", TAR)}, False),
    "bit of a header": ("image", lambda folder: flip(folder / TAR, 3), {("damaged-tar", TAR)}, False),
    "bytes behind a tar": ("image", append_bytes(TAR), {("trailing-bytes", TAR)}, False),
    "missing tar": ("image", lambda folder: (folder / TAR).unlink(), {("missing-tar", TAR)}, False),
    "missing index": ("image", lambda folder: (folder / INDEX).unlink(), {("missing-index", INDEX)}, True),
    "bit of an index": ("image", lambda folder: flip(folder / INDEX, 250, 2), {("damaged-index", INDEX)}, True),
    "bit of an index's header": ("image", lambda folder: flip(folder / INDEX, 1), {("damaged-index", INDEX)}, True),
    "index of another tar": ("image", index_of_another, {("stale-index", INDEX)}, True),
    "swapped indexes": (
        "image",
        lambda folder: swap(folder, ".index.npy"),
        {("swapped-index", INDEX), ("swapped-index", "image-000002.tar.index.npy")},
        True,
    ),
    "bit of frames": (
        "video",
        lambda folder: flip(folder / VIDEO_FRAMES, 300, 2),
        {("damaged-frames", VIDEO_FRAMES)},
        True,
    ),
    "missing frames": (
        "video",
        lambda folder: (folder / VIDEO_FRAMES).unlink(),
        {("missing-frames", VIDEO_FRAMES)},
        True,
    ),
    "index of a video": (
        "video",
        lambda folder: (folder / "video-000001.tar.index.npy").unlink(),
        {("missing-index", "video-000001.tar.index.npy")},
        True,
    ),
    "index of recordings": (
        "audio",
        lambda folder: flip(folder / "audio-000001.tar.index.npy", 200),
        {("damaged-index", "audio-000001.tar.index.npy")},
        True,
    ),
    "words of a manifest": (
        "image",
        lambda folder: in_manifest(folder, '"modality":"image"', '"modality":"imagf"'),
        {("damaged-manifest", MANIFEST)},
        False,
    ),
    "end of a manifest": (
        "image",
        lambda folder: cut_text(folder / MANIFEST),
        {("damaged-manifest", MANIFEST)},
        False,
    ),
    "count in a manifest": ("image", wrong_count, {("wrong-count", MANIFEST)}, False),
    "sum in a manifest": (
        "image",
        lambda folder: in_manifest(folder, '"examples":40', '"examples":41'),
        {("damaged-manifest", MANIFEST)},
        False,
    ),
    "missing manifest": (
        "image",
        lambda folder: (folder / MANIFEST).unlink(),
        {("missing-manifest", MANIFEST)},
        False,
    ),
    "names cut": (
        "image",
        lambda folder: cut_text(folder / NAMES),
        {("damaged-names", NAMES), ("wrong-names", NAMES)},
        False,
    ),
    "no names": ("image", lambda folder: (folder / NAMES).unlink(), {("missing-names", NAMES)}, False),
    "other key in names": ("image", lines(rename_in_line), {("wrong-names", NAMES)}, False),
    "line twice in names": (
        "image",
        lines(repeat_a_line),
        {("wrong-names", NAMES), ("duplicate-names", NAMES)},
        False,
    ),
    "line missing in names": ("image", lines(lambda found: found.pop()), {("wrong-names", NAMES)}, False),
    "foreign tar": (
        "image",
        lambda folder: write_shard(folder / "mine.tar", 0, 2),
        {("foreign-tar", "mine.tar")},
        False,
    ),
    "stray file": (
        "image",
        lambda folder: (folder / "notes.doc").write_text("?"),
        {("stray-file", "notes.doc")},
        False,
    ),
    "part file": (
        "image",
        lambda folder: (folder / f".{TAR}.part").write_text("?"),
        {("unfinished-file", f".{TAR}.part")},
        False,
    ),
    "begun addition": ("image", unfinished, {("unfinished-run", ".make_shards")}, False),
    "unfinished run": ("image", only_unfinished, {("unfinished-run", ".make_shards")}, False),
    "other labels": ("scenes", change_a_table("labels.json"), {("wrong-labels", "labels.json")}, True),
    "other classes": ("scenes", change_a_table("classes.json"), {("wrong-classes", "classes.json")}, True),
    "no labels": (
        "scenes",
        lambda folder: (folder / "labels.json").unlink(),
        {("missing-labels", "labels.json")},
        True,
    ),
}
REMARKS = {"stray file", "part file", "begun addition"}


def cut_text(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


@pytest.mark.parametrize("case", CASES)
def test_damage_is_found_by_its_name_and_repaired_where_it_can_be(case: str, sets: Path, made: Path) -> None:
    name, damage, expected, is_mended = CASES[case]
    folder = sets / name
    damage(folder)
    tars = {path.name: path.read_bytes() for path in folder.glob("*.tar")}
    report = check(folder)
    assert kinds(report) == expected
    assert report.is_sound == (case in REMARKS)
    for finding in report.findings:
        assert finding.sentence[-1] == "." or "truncate" in finding.sentence
        assert not finding.repaired
    repaired = check(folder, repair=True)
    assert kinds(repaired) == expected
    assert repaired.is_sound == (is_mended or case in REMARKS)
    assert {path.name: path.read_bytes() for path in folder.glob("*.tar")} == tars, "no tar is touched"
    if is_mended:
        assert all(finding.repaired for finding in repaired.findings)
        assert contents(folder) == contents(made / name), "byte by byte what was lost"
        assert check(folder).findings == []


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_odd_names_give_keys_that_follow_from_them(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    names = (
        "a.b.png",
        "__x__/y.png",
        "tab\t.png",
        "sub/a.png",
        "a.png",
        "a.PNG",
        "a~2.png",
        "-0.png",
        "日本.png",
        ".b.c.png",
    )
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(number))
    (folder / os.fsdecode(b"\xff\xfe.png")).write_bytes(png(99))
    packed = make_shards(folder, tmp_path / "out", workers=0)
    assert sum(one.examples for one in packed.sets) >= 9
    assert check(tmp_path / "out").findings == []


def test_damaged_example_has_its_key_and_place(sets: Path) -> None:
    in_payload(sets / "image")
    (example,) = [one for one in check(sets / "image").findings if one.kind == "damaged-example"]
    with tarfile.open(sets / "image" / TAR) as tar:
        places = {member.offset: member.name for member in tar}
    assert example.offset in places
    assert example.key == places[example.offset].rpartition(".")[0]
    assert example.offset <= 5 * 512 + 77 < example.offset + 3584


def test_an_index_is_not_rebuilt_from_a_tar_that_is_not_the_one_of_the_manifest(sets: Path) -> None:
    in_payload(sets / "image")
    (sets / "image" / INDEX).unlink()
    report = check(sets / "image", repair=True)
    assert "because its tar is not the one of the manifest" in report.sets[0].refused[0]
    assert not (sets / "image" / INDEX).exists()


def test_a_rebuilt_index_with_another_digest_is_not_written(sets: Path) -> None:
    manifest = manifest_of(sets / "image")
    hashes = list(manifest.shards.index_hash)
    hashes[1] = "0" * 32
    rewrite_manifest(sets / "image", replace(manifest, shards=replace(manifest.shards, index_hash=hashes)))
    (sets / "image" / INDEX).unlink()
    report = check(sets / "image", repair=True)
    assert "has not the digest of the manifest" in report.sets[0].refused[0]
    assert not (sets / "image" / INDEX).exists()


def test_repair_names_the_index_in_whose_place_is_a_folder(sets: Path) -> None:
    path = sets / "image" / INDEX
    path.unlink()
    path.mkdir()
    with pytest.raises(ShardingError, match=re.escape(f"{path}: cannot be written to")):
        check(sets / "image", repair=True)


@pytest.mark.parametrize("column", ["offset", "length", "data_offset", "data_length", "crc32", "flags"])
def test_an_index_that_was_made_wrong_is_found_though_every_digest_fits(column: str, sets: Path) -> None:
    path = sets / "image" / INDEX
    index = np.array(load_index(path))
    index[column][2] ^= 2 if column == "flags" else 512  # bytes of a span come in blocks
    path.unlink()
    manifest = manifest_of(sets / "image")
    hashes = list(manifest.shards.index_hash)
    hashes[1] = save_index(path, index)
    rewrite_manifest(sets / "image", replace(manifest, shards=replace(manifest.shards, index_hash=hashes)))
    assert ("stale-index", INDEX) in kinds(check(sets / "image"))


def test_a_wrong_digest_in_a_damaged_manifest_is_the_manifests_fault(sets: Path) -> None:
    digest = manifest_of(sets / "image").shards.sha256[1]
    in_manifest(sets / "image", digest, ("0" if digest[0] != "0" else "1") + digest[1:])
    report = check(sets / "image")
    assert kinds(report) == {("damaged-manifest", MANIFEST_NAME)}
    assert any(TAR in finding.sentence for finding in report.findings)


def test_decoding_names_the_example_that_fails(tmp_path: Path) -> None:
    for number in range(3):
        write_shard(tmp_path / f"{number}.tar", 0, 1)  # which begin like pictures
    report = check(tmp_path, decode=True)
    assert {(one.kind, one.key) for one in report.findings if one.severity == "error"} == {
        ("undecodable-example", "000000")
    }
    assert report.num_errors == 3
    assert kinds(report) >= {("undecodable-example", f"{number}.tar") for number in range(3)}
