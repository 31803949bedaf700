"""Where blobs are found by name: the folders of this machine, memory, and whatever else has these three methods."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ..errors import SourceError
from .blob import Blob, LocalFile, MemoryBlob
from .cache import file_identity

__all__ = ["LOCAL", "LocalStore", "MemoryStore", "Store"]


class Store(Protocol):
    """Blobs by name. A store can be pickled; it holds nothing open."""

    def open(self, name: str) -> Blob:
        """The blob of a name. Raises `SourceError` if missing, or it cannot be opened."""

    def size_of(self, name: str) -> int | None:
        """Its bytes; None where there is no such blob. Raises `SourceError` where that cannot be found out."""

    def identity_of(self, name: str) -> str | None:
        """What changes whenever the bytes may have changed, for caches; None where nothing may be cached."""


class LocalStore:
    """The files of this machine; names are paths."""

    def open(self, name: str) -> LocalFile:
        """Open a file. Raises `SourceError`."""
        if self.size_of(name) is None:
            raise SourceError(f"{name}: no such file.")
        return LocalFile(name)

    def size_of(self, name: str) -> int | None:
        """Bytes of a file, None if missing. Raises `SourceError` where it cannot be looked at."""
        try:
            return Path(name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SourceError(f"{name}: cannot be read ({error.strerror}).") from error

    def identity_of(self, name: str) -> str:
        """See `cache.file_identity`. Raises `SourceError` where it cannot be looked at."""
        try:
            return file_identity(Path(name))
        except OSError as error:
            raise SourceError(f"{name}: cannot be read ({error.strerror}).") from error


LOCAL = LocalStore()


class MemoryStore:
    """Blobs that are given as bytes."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self.contents = dict(contents)

    def open(self, name: str) -> MemoryBlob:
        """The bytes of a name. Raises `SourceError` if missing."""
        if name not in self.contents:
            raise SourceError(f"{name}: not among the {len(self.contents):,} blobs in memory.")
        return MemoryBlob(self.contents[name])

    def size_of(self, name: str) -> int | None:
        """Bytes of a name, None if missing."""
        return len(self.contents[name]) if name in self.contents else None

    def identity_of(self, name: str) -> None:
        """None: what lies in memory is not cached."""
