"""Where an example is stored, so that its members can be read in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..errors import SourceError
from ..storage.blob import LocalFile

__all__ = ["LazyFields", "Part", "StoredExample", "file_part"]


@dataclass(frozen=True, slots=True)
class Part:
    """One member: `read(offset, length)` gives at most `length` bytes at `offset` of it, `size` is its length.

    `at_once` says that reading any of it costs reading all of it. It holds no open file.
    """

    read: Callable[[int, int], bytes]
    size: int
    at_once: bool = False

    def content(self) -> bytes:
        """All of it."""
        return self.read(0, self.size)


@dataclass(frozen=True, slots=True)
class StoredExample:
    """An `Example` whose members have been located, not read."""

    index: int
    key: str
    media: Part
    container: str = ""
    offset: int | None = None
    fields: Mapping[str, Part] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LazyFields(Mapping[str, bytes]):
    """The fields of a stored example; each is read when it is asked for."""

    parts: Mapping[str, Part]

    def __getitem__(self, name: str) -> bytes:
        return self.parts[name].content()

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)


def file_part(path: Path) -> Part:
    """A whole file as a part; it is opened for each read. Raises `SourceError` where it cannot be looked at."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}). Restore it or list anew.") from error
    return Part(partial(_read_file, path), size)


def _read_file(path: Path, offset: int, length: int) -> bytes:
    return LocalFile(path).read(offset, length)
