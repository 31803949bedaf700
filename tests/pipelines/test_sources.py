"""Sources: what a folder, a pattern or a list opens; parts of them; reading from many threads."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from math import ceil
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from pipelines import Example, FolderSource, ShardError, ShardSource, Source, SourceError, hold_out, open_source
from pipelines.index import index_path
from pipelines.manifest import MANIFEST_NAME, Manifest, ShardColumns
from pipelines.scan import scan_tar
from pipelines.sources import Selection, shards
from pipelines.storage import LocalFile

GOLDEN = Path(__file__).parent / "golden"
JPEG = b"\xff\xd8\xff\xe0 not much of a picture"


def put(folder: Path, *names: str, content: bytes = JPEG) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content + name.encode("utf-8", "surrogateescape"))
    return folder


def keys(source: Source) -> list[str]:
    return [source[index].key for index in range(len(source))]


def write_shard(path: Path, first: int, num: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in range(first, first + num):
            info = tarfile.TarInfo(f"{number:06d}.jpg")
            content = JPEG + str(number).encode()
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_shards(folder: Path, counts: Sequence[int], *, manifest: bool = False) -> Path:
    first = 0
    for number, count in enumerate(counts):
        write_shard(folder / f"s-{number:04d}.tar", first, count)
        first += count
    if manifest:
        write_manifest(folder)
    return folder


def write_manifest(folder: Path) -> None:
    import hashlib

    tars = sorted(folder.glob("*.tar"))
    columns = ShardColumns()
    for tar in tars:
        file = LocalFile(tar)
        index = scan_tar(file.read, file.size, where=str(tar))
        np.save(index_path(tar), index)
        columns.name.append(tar.name)
        columns.examples.append(len(index))
        columns.bytes.append(file.size)
        columns.sha256.append(hashlib.sha256(tar.read_bytes()).hexdigest())
    (folder / MANIFEST_NAME).write_text(Manifest("image", columns).to_json())


# A plain folder


def test_a_folder_gives_its_files_sorted_by_path_with_paths_as_keys(tmp_path: Path) -> None:
    put(tmp_path, "b.jpg", "a/z.png", "a/a.webp", "B.JPG", "ü/写真.jpeg", "two.dots.jpg", "c d.gif")
    source = FolderSource(tmp_path)
    names = sorted(["b.jpg", "a/z.png", "a/a.webp", "B.JPG", "ü/写真.jpeg", "two.dots.jpg", "c d.gif"])
    assert keys(source) == [name.rsplit(".", 1)[0] for name in names]
    assert source.keys() == keys(source)
    assert [source[index].media for index in range(len(names))] == [JPEG + name.encode() for name in names]
    assert source[2].container == str(tmp_path / names[2])
    assert source[2].offset is None


def test_hidden_files_other_files_and_empty_folders_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", ".hidden.jpg", ".folder/b.jpg", "notes.md", "sound.wav", "film.mp4")
    (tmp_path / "empty").mkdir()
    assert keys(FolderSource(tmp_path)) == ["a"]


def test_files_without_a_suffix_are_told_by_what_they_begin_with(tmp_path: Path) -> None:
    put(tmp_path, "camera/IMG0001", "x/IMG0002")
    put(tmp_path, "README", content=b"text")
    assert keys(FolderSource(tmp_path)) == ["camera/IMG0001", "x/IMG0002"]


def test_the_modality_says_which_files_are_meant(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.wav", "c.mp4")
    found = {modality: keys(FolderSource(tmp_path, modality=modality)) for modality in ("image", "audio", "video")}
    assert found == {"image": ["a"], "audio": ["b"], "video": ["c"]}


def test_symbolic_links_are_followed_and_cycles_end(tmp_path: Path) -> None:
    folder = put(tmp_path / "data", "a.jpg", "deep/down/b.jpg")
    put(tmp_path / "elsewhere", "c.jpg")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "d.jpg").symlink_to(folder / "a.jpg")
    (folder / "deep/down/up").symlink_to(folder)
    (folder / "itself.jpg").symlink_to("itself.jpg")
    (folder / "nowhere.jpg").symlink_to("absent.jpg")
    found = keys(FolderSource(folder))
    assert {"a", "d", "deep/down/b", "linked/c"} <= set(found)
    assert len(found) <= 8
    assert "itself" not in found
    assert "nowhere" not in found


def test_names_that_are_no_utf_8_are_read_all_the_same(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        put(tmp_path, name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    source = FolderSource(tmp_path)
    assert source[0].media == JPEG + b"caf\xe9.jpg"
    assert source.data_hash


def test_sidecar_files_are_fields_of_the_picture_with_their_stem(tmp_path: Path) -> None:
    put(tmp_path, "x/a.jpg", "b.jpg")
    (tmp_path / "x/a.json").write_text('{"n": 1}')
    (tmp_path / "x/a.txt").write_text("caption")
    (tmp_path / "other.txt").write_text("of nobody")
    source = FolderSource(tmp_path)
    assert dict(source[source.find("x/a")].fields) == {"json": b'{"n": 1}', "txt": b"caption"}
    assert dict(source[source.find("b")].fields) == {}
    assert len(source) == 2


def test_the_hash_of_a_folder_follows_names_and_sizes_and_nothing_else(tmp_path: Path) -> None:
    a, b = put(tmp_path / "a", "x.jpg", "y.jpg"), put(tmp_path / "b", "y.jpg", "x.jpg")
    assert FolderSource(a).data_hash == FolderSource(b).data_hash
    os.utime(b / "x.jpg", (0, 0))
    assert FolderSource(a).data_hash == FolderSource(b).data_hash
    put(b, "z.jpg")
    assert FolderSource(a).data_hash != FolderSource(b).data_hash
    assert len(FolderSource(a).data_hash) == 32


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    source = FolderSource(put(tmp_path, "a.jpg", "b.jpg"))
    (tmp_path / "b.jpg").unlink()
    assert source[0].key == "a"
    with pytest.raises(SourceError, match=r"b\.jpg: cannot be read"):
        source.read([0, 1])


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    put(tmp_path, "a.jpg")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match="Permission denied"):
        FolderSource(tmp_path)


# What open_source makes of what a user writes


def test_every_way_to_name_shards_opens_the_same_examples(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", [3, 2, 4])
    expected = [f"{number:06d}" for number in range(9)]
    paths = sorted(folder.glob("*.tar"))
    for named in (
        folder,
        str(folder),
        f"{folder}/s-{{0000..0002}}.tar",
        f"{folder}/s-000[0-2].tar",
        f"{folder}/*.tar",
        paths,
        [str(path) for path in paths],
        tuple(paths),
    ):
        source = open_source(named)
        assert keys(source) == expected, named
        assert source.shard_counts.tolist() == [3, 2, 4]
    assert keys(open_source(paths[1])) == expected[3:5]
    assert keys(open_source(f"{folder}/s-{{0002,0000}}.tar")) == expected[5:] + expected[:3]
    assert open_source(source) is source


def test_a_folder_of_shards_with_a_manifest_is_opened_without_reading_a_tar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_shards(tmp_path / "image", [3, 2], manifest=True)
    expected = keys(open_source(folder))
    opened: list[Path] = []
    monkeypatch.setattr(shards, "LocalFile", lambda path: opened.append(path) or LocalFile(path))
    source = open_source(tmp_path)
    assert (len(source), opened) == (5, [])
    assert source[4].key == expected[4]
    assert opened == [folder / "s-0001.tar"]


def test_the_golden_shards_of_version_1_are_read() -> None:
    source = open_source(GOLDEN, verify=True)
    assert keys(source) == ["a/zero", "a/one", "two"]
    assert json.loads(source[0].fields["json"]) == {"label": 3}
    assert source[1].media.startswith(b"\x89PNG")


def test_hidden_tars_are_passed_over(tmp_path: Path) -> None:
    write_shards(tmp_path, [2])
    (tmp_path / "._s-0000.tar").write_bytes(b"what macOS leaves on foreign disks")
    assert len(open_source(tmp_path)) == 2


def test_a_path_with_pattern_characters_is_first_of_all_a_path(tmp_path: Path) -> None:
    write_shard(tmp_path / "odd[1]{a,b}.tar", 0, 2)
    assert len(open_source(tmp_path / "odd[1]{a,b}.tar")) == 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("absent", "no such file or folder"),
        ("absent.tar", "no such file or folder"),
        ("*.tar", "no file matches"),
        ("s-{0..3}.tar", "no such file"),
        ("a{b.tar", "pattern|no such file"),
        (["s-0.tar"], "no such file"),
        ([], "empty list"),
        ("empty", "no image files"),
        ("text/a.txt", "not a tar"),
        (["text/a.txt"], "not a tar"),
        ("s3://bucket/shards", "only local files"),
        ("text", "no image files"),
    ],
    ids=str,
)
def test_where_there_is_nothing_to_read_one_sentence_says_so(
    data: Any, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    put(tmp_path, "text/a.txt", content=b"text")
    with pytest.raises(SourceError, match=reason) as caught:
        open_source(data)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_text_that_is_called_a_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_text("this is no archive at all, but it is long enough " * 40)
    with pytest.raises(ShardError, match=r"x\.tar"):
        open_source(tmp_path / "x.tar")


def test_a_tar_without_examples_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("README"))
    with pytest.raises(SourceError, match="no examples"):
        open_source(tmp_path / "x.tar")


def test_shards_that_contradict_their_manifest_are_named(tmp_path: Path) -> None:
    folder = write_shards(tmp_path, [3, 2], manifest=True)
    second = folder / "s-0001.tar"
    whole = second.read_bytes()
    second.write_bytes(whole[:-512])
    with pytest.raises(ShardError, match=r"s-0001\.tar.*manifest"):
        open_source(folder)
    second.unlink()
    with pytest.raises(ShardError, match=r"s-0001\.tar.*cannot be read"):
        open_source(folder)
    second.write_bytes(whole)
    np.save(index_path(second), np.load(index_path(second))[:1])
    source = open_source(folder)
    with pytest.raises(ShardError, match=r"s-0001\.tar.*1 examples, 2 were expected"):
        source.read([4])


def test_checksums_are_held_when_that_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "golden"
    folder.mkdir()
    for path in GOLDEN.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tar = folder / "image-v1.tar"
    content = bytearray(tar.read_bytes())
    content[open_source(folder)[1].offset or 0] ^= 1
    tar.write_bytes(content)
    assert open_source(folder)[1].key == "a/one"
    with pytest.raises(ShardError, match=r"image-v1\.tar: example 1 at byte [\d,]+ fails its checksum"):
        open_source(folder, verify=True).read([1])
    assert open_source(folder, verify=True)[2].key == "two"


# Random access


def test_indices_and_keys_find_the_same_examples(tmp_path: Path) -> None:
    source = open_source(write_shards(tmp_path, [3, 4]))
    assert source.find("000005") == 5
    assert source[-1].key == "000006"
    assert [example.index for example in source.read([6, 0, 3, 3])] == [6, 0, 3, 3]
    assert source.read([]) == []
    with pytest.raises(KeyError, match="nobody"):
        source.find("nobody")
    for index in (7, -8):
        with pytest.raises(IndexError, match=str(index)):
            source[index]


def open_files() -> int:
    """Open file descriptors of this process; 0 where the system does not tell."""
    descriptors = Path("/proc/self/fd")
    return len(list(descriptors.iterdir())) if descriptors.exists() else 0


def test_more_shards_than_may_be_open_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "OPEN_SHARDS", 4)
    folder, before = write_shards(tmp_path, [2] * 12), open_files()
    source = open_source(folder)
    order = np.random.default_rng(0).permutation(24)
    assert [example.key for example in source.read(order.tolist())] == [f"{number:06d}" for number in order]
    assert open_files() <= before + 2 * 4, "a tar and its mapped index for each of four shards"
    source.close()
    assert open_files() == before
    assert source[23].key == "000023"


def test_many_threads_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "OPEN_SHARDS", 3)
    source = open_source(write_shards(tmp_path, [5] * 8))
    rng = np.random.default_rng(0)
    asked = [rng.integers(0, 40, 20).tolist() for _ in range(60)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda rows: [example.media for example in source.read(rows)], asked))
    assert found == [[JPEG + str(number).encode() for number in rows] for rows in asked]


def test_every_source_survives_pickle_and_copy_before_and_after_it_was_read(tmp_path: Path) -> None:
    folder = put(tmp_path / "plain", *(f"{number:02d}.jpg" for number in range(9)))
    shard_source = open_source(write_shards(tmp_path / "shards", [20, 20]))
    rest, held = hold_out(shard_source, 0.2)
    for source in (
        open_source(folder),
        shard_source,
        rest,
        held,
        Selection(shard_source, [3, 1]),
        Selection(rest, range(4)),
    ):
        for remake in (lambda s: pickle.loads(pickle.dumps(s)), copy.copy, copy.deepcopy):
            for _ in range(2):
                again = remake(source)
                assert keys(again) == keys(source)
                assert again.data_hash == source.data_hash
                assert repr(again) == repr(source)


def test_appended_shards_leave_the_hash_of_every_earlier_length_alone(tmp_path: Path) -> None:
    for manifest in (False, True):
        folder = write_shards(tmp_path / str(manifest), [3, 2], manifest=manifest)
        before = open_source(folder)
        write_shard(folder / "s-0002.tar", 5, 4)
        if manifest:
            write_manifest(folder)
        after = open_source(folder)
        assert after.prefix_hash(5) == before.data_hash != after.data_hash
        assert after.prefix_hash(3) == before.prefix_hash(3) is not None
        assert [after.prefix_hash(num) for num in (0, 1, 4, 6, 10)] == [None] * 5


def test_an_appended_shard_without_examples_changes_nothing(tmp_path: Path) -> None:
    folder = write_shards(tmp_path, [3, 2])
    before = open_source(folder).data_hash
    with tarfile.open(folder / "s-0002.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("README"))
    assert open_source(folder).prefix_hash(5) == before


# Parts


class Blocks(Source):
    """Examples that are their own numbers, in shards of given sizes."""

    name = "blocks"

    def __init__(self, counts: Sequence[int]) -> None:
        self._counts = np.array(counts, np.int64)

    def __len__(self) -> int:
        return int(self._counts.sum())

    @property
    def shard_counts(self) -> Any:
        return self._counts

    def prefix_hash(self, examples: int) -> str | None:
        return f"{examples:032x}" if examples in np.cumsum(self._counts) else None

    def read(self, indices: Sequence[int]) -> list[Example]:
        return [Example(int(index), str(index), b"") for index in indices]


def members(source: Source) -> list[int]:
    return [example.index for example in source.read(range(len(source)))]


@pytest.mark.parametrize("fraction", [0.01, 0.07, 0.1, 0.25, 1 / 3, 0.5, 0.9, 0.999])
def test_of_each_shard_the_ceiling_of_its_share_is_held_out_and_the_parts_are_disjoint(fraction: float) -> None:
    counts = [100, 1, 37, 200, 0, 1000, 3]
    rest, held = hold_out(Blocks(counts), fraction, seed=5)
    assert sorted(members(rest) + members(held)) == list(range(sum(counts)))
    shard_of = np.repeat(np.arange(len(counts)), counts)
    found = np.bincount(shard_of[members(held)], minlength=len(counts)).tolist()
    exact = Fraction(fraction).limit_denominator(10**6)
    assert found == [ceil(count * exact) for count in counts]
    assert held.shard_counts.tolist() == found
    assert members(held) == sorted(members(held))


def test_appended_shards_move_no_example_from_one_part_to_the_other() -> None:
    before = [set(members(part)) for part in hold_out(Blocks([40, 30, 7]), 0.15, seed=1)]
    after = [set(members(part)) for part in hold_out(Blocks([40, 30, 7, 500, 3]), 0.15, seed=1)]
    assert before[0] <= after[0]
    assert before[1] <= after[1]


@pytest.mark.parametrize("counts", [[10, 1], [10, 5], [10, 1, 1]])
def test_appended_shards_leave_the_hashes_of_both_parts_alone(counts: list[int]) -> None:
    before, after = hold_out(Blocks(counts), 0.1), hold_out(Blocks([*counts, 10]), 0.1)
    for old, new in zip(before, after, strict=True):
        assert new.prefix_hash(len(old)) == old.data_hash != new.data_hash


def test_another_seed_or_side_is_another_part_with_another_hash() -> None:
    parts = [part for seed in (0, 1) for part in hold_out(Blocks([200]), 0.2, seed=seed)]
    assert len({part.data_hash for part in parts}) == 4
    assert members(parts[1]) != members(parts[3])
    assert hold_out(Blocks([200]), 0.3)[1].data_hash not in {part.data_hash for part in parts}


def test_a_tiny_share_of_a_large_shard_is_found_without_drawing_all_of_it() -> None:
    begun = monotonic()
    rest, held = hold_out(Blocks([10**9]), 1e-6, seed=3)
    assert (len(held), len(rest)) == (1000, 10**9 - 1000)
    assert len(set(members(held))) == 1000
    assert rest[10**9 - 1001].index < 10**9
    assert monotonic() - begun < 5


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_shares_outside_of_nought_and_one_are_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        hold_out(Blocks([10]), fraction)


def test_holding_out_everything_is_refused() -> None:
    with pytest.raises(SourceError, match="leaves none"):
        hold_out(Blocks([1, 1]), 0.5)


def test_a_selection_holds_the_chosen_examples_in_the_chosen_order() -> None:
    source = Blocks([5, 5])
    assert members(Selection(source, [7, 0, 7, 3])) == [7, 0, 7, 3]
    assert members(Selection(source, range(9, 2, -3))) == [9, 6, 3]
    assert members(Selection(source, np.array([1, 2]))) == [1, 2]
    hashes = {Selection(source, chosen).data_hash for chosen in ([1, 2], [2, 1], [1], range(2), range(1, 3))}
    assert len(hashes) == 5
    for wrong in ([10], [-1], range(8, 11), range(0, -2, -1)):
        with pytest.raises(IndexError, match="of 10"):
            Selection(source, wrong)
    for empty in ([], range(3, 3)):
        with pytest.raises(SourceError, match="empty"):
            Selection(source, empty)


def test_a_range_of_a_thousand_million_costs_nothing() -> None:
    begun = monotonic()
    selection = Selection(Blocks([2 * 10**9]), range(10**9, 2 * 10**9))
    assert selection[-1].index == 2 * 10**9 - 1
    assert monotonic() - begun < 1


def test_shard_source_refuses_an_empty_list_by_name() -> None:
    with pytest.raises(SourceError, match="Name at least one"):
        open_source([])
    assert isinstance(open_source(GOLDEN), ShardSource)
