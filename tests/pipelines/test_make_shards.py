"""make_shards from folder to finished set: every byte, every refusal, every way to go on."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from webdataset.tariterators import group_by_keys, tar_file_expander

from pipelines.errors import ShardingError
from pipelines.sharding import PackReport, make_shards
from pipelines.storage.index import load_index
from pipelines.storage.manifest import Manifest

ROOT = Path(__file__).resolve().parents[2]


def picture(seed: int, kind: str = "PNG") -> bytes:
    pixels = np.random.Generator(np.random.Philox(seed)).integers(0, 255, (16, 24, 3), np.uint8)
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, kind)
    return target.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty images in two folders, some with sidecars, names that need care, and four files that fail."""
    folder = tmp_path / "source"
    (folder / "sub.dir").mkdir(parents=True)
    for index in range(12):
        (folder / f"{index:02d}.png").write_bytes(picture(index))
    (folder / "00.json").write_text('{"label": 1}')
    (folder / "00.txt").write_text("a caption")
    (folder / "01.cls").write_text("3")
    (folder / "dots.in.name.jpg").write_bytes(picture(20, "JPEG"))
    (folder / "dots_in_name.jpg").write_bytes(picture(21, "JPEG"))
    (folder / "__meta__.png").write_bytes(picture(22))
    (folder / "写真 ü.png").write_bytes(picture(23))
    (folder / os.fsdecode(b"not\xffutf8.png")).write_bytes(picture(24))
    (folder / ("n" * 200 + ".png")).write_bytes(picture(25))
    deep = folder / ("d" * 150) / ("e" * 150)
    deep.mkdir(parents=True)
    (deep / "deep.png").write_bytes(picture(26))
    (folder / "sub.dir" / "00.png").write_bytes(picture(27))
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "truncated.jpg").write_bytes(picture(1, "JPEG")[:60])
    (folder / "notes.md").write_text("to be passed over")
    return folder


FAILED = ["empty.jpg", "text.jpg", "truncated.jpg"]


def pack(source: Path, out: Path, **settings: object) -> PackReport:
    return make_shards(source, out, **{"workers": 0, "shard_examples": 6, **settings})  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    paths = [folder, *folder.rglob("*")]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size, path.stat().st_ino) for path in paths}


def names_of(out: Path) -> dict[str, str]:
    lines = (out / "manifest.names.jsonl").read_text(encoding="utf-8").splitlines()
    return {original: key for key, original in map(json.loads, lines)}


def read_back(out: Path) -> dict[str, dict[str, bytes]]:
    """Every example by key, as the webdataset package reads it."""
    examples = {}
    for tar in sorted(out.glob("*.tar")):
        with open(tar, "rb") as stream:
            for sample in group_by_keys(tar_file_expander([{"url": tar.name, "stream": stream}])):
                examples[sample["__key__"]] = {k: v for k, v in sample.items() if not k.startswith("__")}
    return examples


def test_every_image_comes_back_byte_for_byte_under_a_key_of_its_own(source: Path, tmp_path: Path) -> None:
    report = pack(source, tmp_path / "out")
    names, examples = names_of(tmp_path / "out"), read_back(tmp_path / "out")
    images = [path for path in source.rglob("*") if path.suffix in (".png", ".jpg") and path.name not in FAILED]
    assert len(images) == report.examples == len(names) == len(examples) == 20
    for path in images:
        found = examples[names[str(path.relative_to(source))]]
        assert found[path.suffix[1:]] == path.read_bytes(), path
    assert examples["00"] == {
        "png": (source / "00.png").read_bytes(),
        "json": b'{"label": 1}',
        "txt": b"a caption",
    }
    assert {"dots_in_name", "dots_in_name~2", "~__meta__", "写真 ü", "not�utf8", "sub.dir/00"} < set(examples)


def test_tarfile_agrees_with_the_names_the_manifest_and_the_index(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(source, out)
    manifest = Manifest.load(out)
    keys = []
    for name, examples, size, sha256, index_hash, frames_hash in zip(*vars(manifest.shards).values(), strict=True):
        content = (out / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, sha256)
        digest = hashlib.sha256((out / f"{name}.index.npy").read_bytes()).hexdigest()
        assert (index_hash, frames_hash) == (digest[:32], "")
        index = load_index(out / f"{name}.index.npy", tar_bytes=size)
        assert len(index) == examples
        media = []
        with tarfile.open(out / name) as tar:
            for member in tar:
                key, _, suffix = member.name.rpartition(".")
                if suffix in ("png", "jpg"):
                    media.append((member.offset_data, member.size))
                    keys.append(key)
        assert media == [(row["data_offset"], row["data_length"]) for row in index]
        assert {(row["width"], row["height"], row["channels"], row["frames"]) for row in index} == {(24, 16, 3, 1)}
    assert keys == list(names_of(out).values())
    indexes = [f"{name}.index.npy" for name in manifest.shards.name]
    expected = [*manifest.shards.name, *indexes, "manifest.json", "manifest.names.jsonl"]
    assert sorted(path.name for path in out.iterdir()) == sorted(expected)


def test_what_cannot_be_packed_is_listed_with_its_reason(source: Path, tmp_path: Path) -> None:
    report = pack(source, tmp_path / "out")
    assert [failure.path for failure in report.failures] == FAILED
    assert report.skipped == 1
    manifest = Manifest.load(tmp_path / "out")
    assert [(one["path"], one["reason"]) for one in manifest.failures] == [tuple(one) for one in report.failures]
    assert all(failure.reason for failure in report.failures)


def test_bytes_do_not_depend_on_workers_or_place(source: Path, tmp_path: Path) -> None:
    pack(source, tmp_path / "0")
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(source, copy)
    for workers in (1, 2, 3):
        pack(copy, tmp_path / str(workers), workers=workers)
        assert contents(tmp_path / str(workers)) == contents(tmp_path / "0")
    text = b"".join(path.read_bytes() for path in (tmp_path / "0").iterdir())
    assert str(tmp_path).encode() not in text


def test_a_complete_set_is_left_alone(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = pack(source, out)
    before = snapshot(out)
    for extra in ({}, {"workers": 1}, {"append": True}):
        again = pack(source, out, **extra)
        assert (again.was_complete, again.new_shards) == (True, 0)
        assert (again.examples, again.bytes, again.failures) == (first.examples, first.bytes, first.failures)
    assert snapshot(out) == before


def test_the_source_is_only_read(source: Path, tmp_path: Path) -> None:
    before = snapshot(source)
    for folder in [source, *(path for path in source.rglob("*") if path.is_dir())]:
        folder.chmod(0o555)
    try:
        pack(source, tmp_path / "out")
    finally:
        for folder in [source, *(path for path in source.rglob("*") if path.is_dir())]:
            folder.chmod(0o755)
    assert snapshot(source) == before


def test_append_packs_what_is_new_and_leaves_what_is_there(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(source, out)
    before, old = contents(out), Manifest.load(out)
    for index in range(7):
        (source / f"new{index}.png").write_bytes(picture(60 + index))
    (source / "truncated.jpg").write_bytes(picture(70, "JPEG"))
    report = pack(source, out, append=True)
    after, new = contents(out), Manifest.load(out)
    assert (report.examples, report.new_shards, report.was_complete) == (28, 2, False)
    assert {name: after[name] for name in before if ".tar" in name} == {
        n: h for n, h in before.items() if ".tar" in n
    }
    assert new.shards.name[: len(old.shards.name)] == old.shards.name
    assert new.shards.sha256[: len(old.shards.name)] == old.shards.sha256
    assert len(read_back(out)) == 28 == len(names_of(out))
    assert [failure.path for failure in report.failures] == ["empty.jpg", "text.jpg"]
    assert pack(source, out).was_complete
    (source / "new0.png").unlink()
    assert pack(source, out, append=True).examples == 28
    assert pack(source, out).was_complete


def test_append_refuses_files_that_have_changed_since(source: Path, tmp_path: Path) -> None:
    pack(source, tmp_path / "out")
    (source / "05.png").write_bytes(picture(99) + b"\0")
    before = snapshot(tmp_path / "out")
    with pytest.raises(ShardingError, match=r"05\.png: has another size.*--overwrite"):
        pack(source, tmp_path / "out", append=True)
    assert {k: v for k, v in snapshot(tmp_path / "out").items() if "tar" in k} == {
        k: v for k, v in before.items() if "tar" in k
    }


def test_overwrite_makes_the_set_anew_and_spares_foreign_files(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(source, out, shard_examples=2)
    (out / "README.md").write_text("mine")
    pack(source, out, overwrite=True)
    assert (out / "README.md").read_text() == "mine"
    (out / "README.md").unlink()
    pack(source, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")
    with pytest.raises(ValueError, match="exclude each other"):
        pack(source, out, overwrite=True, append=True)


def test_resized_sets_hold_upright_jpegs_and_keep_their_sidecars(source: Path, tmp_path: Path) -> None:
    report = pack(source, tmp_path / "out", resize=8, quality=80)
    examples = read_back(tmp_path / "out")
    assert report.examples == 20
    for found in examples.values():
        with Image.open(io.BytesIO(found["jpg"])) as image:
            assert (image.size, image.mode) == ((12, 8), "RGB")
    assert examples["00"]["txt"] == b"a caption"
    assert Manifest.load(tmp_path / "out").settings["quality"] == 80


def test_a_shard_without_a_readable_image_is_left_out(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for index in range(4):
        (source / f"bad{index}.jpg").write_bytes(picture(index, "JPEG")[:50])
        (source / f"good{index}.png").write_bytes(picture(index))
    report = pack(source, tmp_path / "out", shuffle=None, shard_examples=4)
    assert (report.examples, report.shards, len(report.failures)) == (4, 1, 4)
    assert [path.name for path in (tmp_path / "out").glob("*.tar")] == ["image-000001.tar"]
    assert pack(source, tmp_path / "out", shuffle=None, shard_examples=4).was_complete


def test_shards_inside_the_source_are_not_packed(source: Path) -> None:
    report = pack(source, source / "shards")
    assert report.examples == 20
    again = pack(source, source / "shards")
    assert (again.was_complete, again.skipped) == (True, report.skipped)
