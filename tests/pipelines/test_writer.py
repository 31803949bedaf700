"""ShardWriter against tarfile, the webdataset package and the raw bytes."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from webdataset.tariterators import group_by_keys, tar_file_expander

from pipelines.errors import ShardingError
from pipelines.sharding import ShardWriter
from pipelines.sharding.shard_content import encode_example
from pipelines.storage.index import IndexFlag, index_path, load_index

EXAMPLES = {
    "plain": (b"jpeg bytes", "jpg", {}),
    "with_fields": (b"x" * 1024, "png", {"txt": b"a caption", "cls": b"7", "json": b"{}"}),
    "folder.with.dots/name": (b"y" * 513, "jpg", {}),
    "d" * 60 + "/" + "n" * 80: (b"long, but it fits a ustar header", "jpg", {}),
    "n" * 180: (b"too long for ustar", "jpg", {"json": b"[1]"}),
    "e" * 90 + "/" + "f" * 90 + "/" + "g" * 90: (b"longer than 255", "jpg", {}),
    "straße/写真": (b"unicode", "jpg", {"txt": "ü".encode()}),
    "mask": (b"two suffixes", "seg.png", {}),
}


def write_all(folder: Path, **settings: int) -> ShardWriter:
    with ShardWriter(folder, "image", **settings) as writer:
        for key, (media, suffix, fields) in EXAMPLES.items():
            writer.write(key, media, suffix, fields=fields, width=3, height=2, channels=3)
    return writer


def test_tarfile_reads_every_member_fields_first_and_no_trace_of_clock_or_owner(tmp_path: Path) -> None:
    write_all(tmp_path)
    expected = [
        (f"{key}.{name}", payload)
        for key, (media, suffix, fields) in EXAMPLES.items()
        for name, payload in [*sorted(fields.items()), (suffix, media)]
    ]
    with tarfile.open(tmp_path / "image-000000.tar") as tar:
        members = tar.getmembers()
        assert [(one.name, tar.extractfile(one).read()) for one in members] == expected  # type: ignore[union-attr]
        for one in members:
            assert (one.mtime, one.uid, one.gid, one.uname, one.gname, one.mode) == (0, 0, 0, "", "", 0o644)


def test_webdataset_reads_every_key_and_byte(tmp_path: Path) -> None:
    write_all(tmp_path)
    with open(tmp_path / "image-000000.tar", "rb") as stream:
        samples = list(group_by_keys(tar_file_expander([{"url": "image-000000.tar", "stream": stream}])))
    assert [sample["__key__"] for sample in samples] == list(EXAMPLES)
    for sample, (media, suffix, fields) in zip(samples, EXAMPLES.values(), strict=True):
        found = {name: value for name, value in sample.items() if not name.startswith("__")}
        assert found == {**fields, suffix: media}


def test_the_index_leads_to_the_media_and_its_checksum_covers_the_span(tmp_path: Path) -> None:
    write_all(tmp_path)
    tar = tmp_path / "image-000000.tar"
    content = tar.read_bytes()
    index = load_index(index_path(tar), tar_bytes=len(content))
    end = 0
    for row, (key, (media, _, fields)) in zip(index, EXAMPLES.items(), strict=True):
        assert row["offset"] == end
        end = row["offset"] + row["length"]
        assert content[row["data_offset"] : row["data_offset"] + row["data_length"]] == media, key
        assert zlib.crc32(content[row["offset"] : end]) == row["crc32"]
        assert row["flags"] == IndexFlag.HAS_CRC32 | (IndexFlag.HAS_FIELDS if fields else 0)
        assert (row["frames"], row["table_offset"], row["width"], row["height"], row["channels"]) == (
            1,
            -1,
            3,
            2,
            3,
        )
    assert content[end:] == bytes(1024)


def test_pax_headers_appear_only_where_a_name_needs_one(tmp_path: Path) -> None:
    write_all(tmp_path)
    content = (tmp_path / "image-000000.tar").read_bytes()
    for row, key in zip(load_index(tmp_path / "image-000000.tar.index.npy"), EXAMPLES, strict=True):
        needs_pax = not key.isascii() or key.startswith(("nnn", "eee"))
        assert (content[row["offset"] + 156 : row["offset"] + 157] == b"x") == needs_pax, key


def test_shards_roll_by_count_and_before_they_grow_beyond_their_bytes(tmp_path: Path) -> None:
    by_count = write_all(tmp_path / "count", shard_examples=3)
    assert [shard.examples for shard in by_count.shards] == [3, 3, 2]
    by_bytes = write_all(tmp_path / "bytes", shard_bytes=5000)
    assert sum(shard.examples for shard in by_bytes.shards) == len(EXAMPLES)
    assert all(shard.bytes <= 5000 + 1024 or shard.examples == 1 for shard in by_bytes.shards)
    assert len(by_bytes.shards) > 2
    with ShardWriter(tmp_path / "large", "image", shard_bytes=1) as writer:
        writer.write("a", b"larger than a shard", "jpg")
        writer.write("b", b"as well", "jpg")
    assert [shard.name for shard in writer.shards] == ["image-000000.tar", "image-000001.tar"]


def test_the_same_examples_give_the_same_bytes_and_the_summary_tells_them(tmp_path: Path) -> None:
    first, second = write_all(tmp_path / "a"), write_all(tmp_path / "b")
    assert first.shards == second.shards
    for name in ("image-000000.tar", "image-000000.tar.index.npy"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    content = (tmp_path / "a" / "image-000000.tar").read_bytes()
    assert (first.shards[0].bytes, first.shards[0].sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_an_exception_removes_the_current_shard_and_keeps_the_finished_ones(tmp_path: Path) -> None:
    class UserError(Exception):
        pass

    def fail_in_second_shard() -> None:
        with ShardWriter(tmp_path, "image", shard_examples=1) as writer:
            writer.write("a", b"1", "jpg")
            writer.write("b", b"2", "jpg")
            raise UserError

    with pytest.raises(UserError):
        fail_in_second_shard()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image-000000.tar", "image-000000.tar.index.npy"]


def test_the_index_is_in_place_before_the_tar_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []
    replace = Path.replace

    def watch(self: Path, target: Path) -> Path:
        seen.append((target.name, (tmp_path / "image-000000.tar.index.npy").exists()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watch)
    write_all(tmp_path)
    assert seen == [("image-000000.tar.index.npy", False), ("image-000000.tar", True)]


def test_nothing_is_visible_before_a_shard_is_whole_and_leftovers_of_a_kill_are_replaced(tmp_path: Path) -> None:
    (tmp_path / ".image-000000.tar.part").write_bytes(b"left by a killed writer, longer than what follows" * 1000)
    with ShardWriter(tmp_path, "image") as writer:
        writer.write("a", b"1", "jpg")
        assert [path.name for path in tmp_path.glob("[!.]*")] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image-000000.tar", "image-000000.tar.index.npy"]
    assert (tmp_path / "image-000000.tar").stat().st_size == 512 + 512 + 1024


@pytest.mark.parametrize("key", ["dot.in.name", "", "folder/", "__meta__", "/absolute", "folder/.hidden"])
def test_keys_that_webdataset_would_read_differently_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        encode_example(key, b"1", "jpg")


@pytest.mark.parametrize("suffix", ["", ".jpg", "JPG", "a/b", "."])
def test_suffixes_that_webdataset_would_read_differently_are_refused(suffix: str) -> None:
    with pytest.raises(ValueError, match="suffix"):
        encode_example("key", b"1", suffix)


def test_taken_names_are_refused(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "image") as writer:
        writer.write("a", b"1", "jpg")
        with pytest.raises(ValueError, match="'a' already"):
            writer.write("a", b"2", "jpg")
        with pytest.raises(ValueError, match="both the media and a field"):
            writer.write("b", b"2", "json", fields={"json": b"{}"})
    again = ShardWriter(tmp_path, "image")
    with pytest.raises(ShardingError, match="first=1"):
        again.write("c", b"3", "jpg")
    with ShardWriter(tmp_path, "image", first=1) as more:
        more.write("c", b"3", "jpg")
    assert [shard.name for shard in more.shards] == ["image-000001.tar"]


def test_facts_of_audio_reach_the_index(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "audio") as writer:
        writer.write("note", b"RIFF", "wav", frames=44_100, channels=2, rate=(44_100, 1))
    row = np.load(tmp_path / "audio-000000.tar.index.npy")[0]
    names = ("frames", "channels", "rate_numerator", "rate_denominator")
    assert tuple(row[name] for name in names) == (44_100, 2, 44_100, 1)


def test_an_unused_writer_leaves_nothing(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "none", "image") as writer:
        pass
    assert writer.shards == []
    assert not (tmp_path / "none").exists()
