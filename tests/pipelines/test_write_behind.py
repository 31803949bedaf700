"""Shards go to the disk while they are written, and what a disk refuses meanwhile is not lost."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from pipelines.sharding.writer import ShardWriter
from pipelines.storage import durable_files

pytestmark = pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="this system cannot send a part of a file")

MEBIBYTE = 1 << 20


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the file whenever it was sent to the disk; that happens every mebibyte."""
    found: list[int] = []

    def fdatasync(descriptor: int) -> None:
        found.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(durable_files, "BEHIND_BYTES", MEBIBYTE)
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    return found


def pack(folder: Path, num: int = 40) -> bytes:
    with ShardWriter(folder, "image") as writer:
        for number in range(num):
            writer.write(str(number), bytes([number]) * (MEBIBYTE // 4), "jpg")
    return (folder / "image-000000.tar").read_bytes()


def test_a_shard_is_sent_while_it_is_written_and_nothing_is_under_way_when_it_is_there(
    tmp_path: Path, sent: list[int]
) -> None:
    before = threading.active_count()
    tar = pack(tmp_path)
    assert sent
    assert sent == sorted(sent)
    assert sent[0] < len(tar)
    assert threading.active_count() == before


def test_the_bytes_are_those_of_a_shard_that_was_sent_at_its_end(
    tmp_path: Path, sent: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tar = pack(tmp_path / "behind")
    monkeypatch.setattr(durable_files, "BEHIND_BYTES", 1 << 40)
    del sent[:]
    assert pack(tmp_path / "whole") == tar
    assert not sent


@pytest.mark.parametrize("refused", [1, 3])
def test_what_the_disk_refuses_meanwhile_ends_the_shard_although_the_last_fsync_is_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    calls: list[int] = []

    def fdatasync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == refused:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(durable_files, "BEHIND_BYTES", MEBIBYTE)
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    with pytest.raises(OSError, match="Input/output error"):
        pack(tmp_path)
    assert len(calls) >= refused
    assert list(tmp_path.iterdir()) == []


def test_the_error_of_the_last_part_is_raised_at_the_end(tmp_path: Path) -> None:
    reader, writer = os.pipe()  # a pipe cannot be sent to a disk
    try:
        behind = durable_files.WriteBehind(writer)
        behind.wrote(durable_files.BEHIND_BYTES)
        with pytest.raises(OSError, match="Invalid argument"):
            behind.wait()
    finally:
        os.close(reader)
        os.close(writer)
