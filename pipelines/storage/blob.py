"""Bytes at any offset, from any thread: what every reader here asks of a file, wherever it lies."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ..errors import SourceError
from .plain_files import open_plain

__all__ = ["Blob", "BlobFile", "LocalFile", "MemoryBlob", "Read"]

Read = Callable[[int, int], bytes]
"""read(offset, length) → at most `length` bytes at `offset`; fewer at the end."""


class Blob(Protocol):
    """`size` bytes that many threads read by offset. It closes when the last of them lets it go."""

    @property
    def size(self) -> int:
        """Bytes of all of it."""

    def read(self, offset: int, length: int, /) -> bytes:
        """`length` bytes at `offset`, fewer at the end. Raises `SourceError`."""


class LocalFile:
    """An open file of this machine; `size` is its length in bytes when it was opened.

    Raises `SourceError` where it cannot be opened, or is not a plain file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._descriptor = -1
        try:
            self._descriptor = open_plain(self.path)
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


class MemoryBlob:
    """Bytes in memory."""

    def __init__(self, content: bytes) -> None:
        self.content, self.size = content, len(content)

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`, fewer at the end."""
        return self.content[offset : offset + length]


class BlobFile(io.RawIOBase):
    """What is read through `read(offset, length)`, as a file for C libraries.

    An error must not cross the C code in between: it is kept in `failure`, and the file ends there.
    """

    def __init__(self, read: Read, size: int) -> None:
        super().__init__()
        self._read, self.size, self._position = read, size, 0
        self.failure: Exception | None = None

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, as in any file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Bytes from the start."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as there are bytes."""
        length = max(0, min(len(buffer), self.size - self._position))
        try:
            content = self._read(self._position, length) if length and self.failure is None else b""
        except Exception as error:
            self.failure, content = error, b""
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def check(self) -> None:
        """Raise what went wrong in reading."""
        if self.failure is not None:
            raise self.failure
