"""Bytes of a local file, at any offset, from any thread."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import SourceError

__all__ = ["LocalFile"]


class LocalFile:
    """An open file that many threads read by offset; it closes when the last of them lets it go.

    `size` is its length in bytes when it was opened. Raises `SourceError` where it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._descriptor = -1
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be opened ({error.strerror}).") from error
        self.size = os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`, fewer at the end of the file; releases the GIL. Raises `SourceError`."""
        try:
            content = os.pread(self._descriptor, length, offset)
            if len(content) == length or not content:
                return content
            parts = [content]
            while content and (missing := length - sum(map(len, parts))):
                content = os.pread(self._descriptor, missing, offset + length - missing)
                parts.append(content)
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be read at byte {offset:,} ({error.strerror}).") from error
        return b"".join(parts)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
