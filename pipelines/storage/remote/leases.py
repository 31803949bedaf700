"""The right to a file of the cache, for as long as it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .held_files import HeldFile

__all__ = ["Lease"]


class Lease:
    """A finished local file, at `path`, that is not evicted before `release()`, the end of a `with`, or of the process.

    A forked process does not have it.
    """

    def __init__(self, path: str, size: int, held: HeldFile, leased: dict[int, tuple[str, int]]) -> None:
        self.size = size
        self._path, self._held, self._leased = path, held, leased
        leased[id(self)] = (path, size)

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return Path(self._path)

    def release(self) -> None:
        """Let go of the file; a second time it does nothing."""
        self._leased.pop(id(self), None)
        self._held.close()

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()

    def __reduce__(self) -> Any:
        raise TypeError("a lease of a cached file belongs to its process and cannot be pickled.")
