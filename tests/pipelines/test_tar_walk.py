"""The walk that check_shards compares indexes with, against `tarfile`, webdataset and zlib."""

from __future__ import annotations

import random
import tarfile
import zlib
from pathlib import Path

import pytest

from pipelines.check_shards.tar_walk import TarWalk, WalkedExample
from pipelines.storage.blob import LocalFile
from pipelines.storage.tar_index import scan_tar

from .foreign_tars import FORMATS, Entry, by_webdataset, ordinary, write_tar

ODD: list[Entry] = [
    ("folder", None),
    (f"{'long/' * 60}a.json", b"{}"),
    (f"{'long/' * 60}a.jpg", b"x" * 700),
    ("ü/ß.cls", b"7"),
    ("ü/ß.png", b""),
    ("README", b"no key"),
    ("ü/ß.txt", b"behind something else"),
    ("a/b.seg.png", b"1"),
    ("a/b.png", b"2" * 512),
    ("a/b.png", b"the same suffix again: another example"),
]


def walked(content: bytes, step: int) -> tuple[list[WalkedExample], TarWalk]:
    found: list[WalkedExample] = []
    walk = TarWalk(found.append)
    for begin in range(0, len(content), step):
        walk.feed(content[begin : begin + step])
    walk.finish()
    return found, walk


@pytest.mark.parametrize("format_name", ["gnu", "pax"])
@pytest.mark.parametrize("entries", [ordinary(), ODD], ids=["ordinary", "odd"])
def test_it_finds_the_examples_of_webdataset_at_the_places_of_tarfile(
    entries: list[Entry], format_name: str, tmp_path: Path
) -> None:
    path = write_tar(tmp_path / "a.tar", entries, format_name)
    content = path.read_bytes()
    with tarfile.open(path) as tar:
        places = {member.offset_data: (member.name, member.size) for member in tar if member.isfile()}
    for step in (1 << 20, 512, 97):
        found, walk = walked(content, step)
        assert walk.fault is None
        for example in found:
            assert zlib.crc32(content[example.offset : example.stop]) == example.crc32
            for member in example.members:
                name, size = places[member.data_offset]
                assert (name.lower(), size) == (f"{example.key}.{member.suffix}".lower(), member.data_length)
    if entries is not ODD:  # webdataset raises for a suffix that comes twice
        assert [(one.key, {member.suffix for member in one.members}) for one in found] == [
            (key, set(members)) for key, members in by_webdataset(path)
        ]
    index = scan_tar(LocalFile(path).read, len(content), where="a.tar")
    assert [(one.offset, one.stop - one.offset) for one in found] == list(
        zip(index["offset"].tolist(), index["length"].tolist(), strict=True)
    )


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_tar_that_is_cut_anywhere_is_cut_and_its_whole_examples_are_found(
    format_name: str, tmp_path: Path
) -> None:
    content = write_tar(tmp_path / "a.tar", ordinary(4), format_name).read_bytes()
    whole, _ = walked(content, 1 << 20)
    end = whole[-1].stop
    for stop in range(0, end + 1, 211):
        found, walk = walked(content[:stop], 4096)
        assert walk.fault is not None
        assert walk.fault.kind == "cut-tar"
        assert walk.fault.offset == stop
        assert found == whole[: len(found)]


def test_bytes_behind_the_end_mark_are_found_and_zeros_are_not(tmp_path: Path) -> None:
    content = write_tar(tmp_path / "a.tar", ordinary(2)).read_bytes()
    for step in (64, 1 << 20):
        assert walked(content + bytes(100_000), step)[1].fault is None
        fault = walked(content + bytes(700) + b"x" + bytes(9), step)[1].fault
        assert fault is not None
        assert (fault.kind, fault.offset) == ("trailing-bytes", len(content) + 700)


def test_noise_ends_in_a_fault_and_not_in_an_exception(tmp_path: Path) -> None:
    content = write_tar(tmp_path / "a.tar", ODD, "pax").read_bytes()
    draw = random.Random(0)
    for _ in range(400):
        damaged = bytearray(content)
        for _ in range(draw.randrange(1, 40)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        _, walk = walked(bytes(damaged), draw.choice((64, 512, 1 << 20)))
        assert walk.position <= len(damaged)
        assert walk.fault is None or 0 <= walk.fault.offset <= len(damaged)
