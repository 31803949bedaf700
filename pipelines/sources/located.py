"""Where an example is stored, so that its members can be read in parts."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Literal

from ..errors import SourceError
from ..storage.blob import LocalFile, Read
from ..storage.frame_table import FrameRows

__all__ = [
    "READ_CLOCK",
    "FilePart",
    "LazyFields",
    "LocatedExample",
    "Member",
    "ReadClock",
    "ReadOrder",
    "file_member",
]


ReadOrder = Literal["stored", "by_shard", "random"]
"""As stored; shards in random order, or within windows of them; anything at any time."""


class ReadClock(threading.local):
    """What the calling thread has read of members since it last asked: seconds and bytes."""

    seconds = 0.0
    num_bytes = 0

    def take(self) -> tuple[float, int]:
        """Seconds and bytes since the last call."""
        taken = self.seconds, self.num_bytes
        self.seconds, self.num_bytes = 0.0, 0
        return taken


READ_CLOCK = ReadClock()


@dataclass(frozen=True, slots=True)
class FilePart:
    """Where bytes lie on this machine: from `offset` on in the file at `path`."""

    path: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an example: a `Blob` that holds no open file.

    `must_read_whole` says that reading any of it costs reading all of it; `file` where it lies, for libraries that
    read files themselves, None if it is not part of a file of this machine.
    """

    read_bytes: Read
    size: int
    must_read_whole: bool = False
    file: FilePart | None = None

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`, fewer at the end; the time it takes counts as reading, not as decoding."""
        begun = perf_counter()
        content = self.read_bytes(offset, length)
        READ_CLOCK.seconds += perf_counter() - begun
        READ_CLOCK.num_bytes += len(content)
        return content

    def content(self) -> bytes:
        """All of it."""
        return self.read(0, self.size)


@dataclass(frozen=True, slots=True)
class LocatedExample:
    """An `Example` whose members have been located, not read.

    `frames` are the tables of the tar that it is in and the row at which its own begins: see `frame_table.py`.
    """

    index: int
    key: str
    media: Member
    container: str = ""
    offset: int | None = None
    fields: Mapping[str, Member] = field(default_factory=dict)
    frames: tuple[FrameRows, int] | None = None


@dataclass(frozen=True, slots=True)
class LazyFields(Mapping[str, bytes]):
    """The fields of a located example; each is read when it is asked for."""

    members: Mapping[str, Member]

    def __getitem__(self, name: str) -> bytes:
        return self.members[name].content()

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


def file_member(path: Path) -> Member:
    """A whole file as a member; it is opened for each read. Raises `SourceError` where it cannot be looked at."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}). Restore it or list again.") from error
    return Member(partial(_read_file, path), size)


def _read_file(path: Path, offset: int, length: int) -> bytes:
    return LocalFile(path).read(offset, length)
