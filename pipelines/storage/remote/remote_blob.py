"""A file of a remote store as a blob: ranges of it, and a window for small reads in a row."""

from __future__ import annotations

import zlib
from typing import Protocol

from ...errors import SourceError
from .client import Facts
from .retrying import RangesIgnoredError, RequestError, sentence
from .urls import redacted

__all__ = ["RangeStore", "RemoteBlob"]

TINY_READ_BYTES = 4 << 10
"""A read of no more is one of headers, and is made larger."""
LEAST_WINDOW, FIRST_WINDOW, MOST_WINDOW = 16 << 10, 64 << 10, 1 << 20
MOST_WHOLE_BYTES = 64 << 20
"""Larger files are refused if their server ignores ranges; others are then read whole."""


class RangeStore(Protocol):
    """What a blob asks of its store."""

    def read_range(
        self, name: str, offset: int, length: int, facts: Facts, *, crc32: int | None = None
    ) -> tuple[bytes, Facts]:
        """Bytes of a file, and what is then known of it. Raises `SourceError`."""

    def supports_ranges(self, name: str) -> bool:
        """False once the server of a file has sent more than was asked for."""


class RemoteBlob:
    """A file of a remote store, read by ranges; `size` is its length in bytes.

    Reads of at most 4 KiB, of headers, fetch a window that later ones are served from: it grows while they come in a
    row, up to 1 MiB, and shrinks where they are far apart, as between large members of a tar.
    """

    def __init__(self, store: RangeStore, name: str, facts: Facts) -> None:
        assert facts.size is not None
        self.store, self.name, self.size, self._known = store, name, facts.size, facts
        self._window, self._window_bytes = (0, b""), FIRST_WINDOW
        self._whole: bytes | None = None

    def read(self, offset: int, length: int, *, crc32: int | None = None) -> bytes:
        """`length` bytes at `offset`, fewer at the end; with `crc32` they are checked. Raises `SourceError`."""
        length = max(0, min(length, self.size - offset))
        if not length:
            return b""
        start, window = self._window
        if crc32 is None and start <= offset and offset + length <= start + len(window):
            return window[offset - start : offset - start + length]
        if length > TINY_READ_BYTES or crc32 is not None:
            return self._range(offset, length, crc32)
        distance = offset - (start + len(window))
        if window and 0 <= distance <= len(window):
            self._window_bytes = min(MOST_WINDOW, 2 * self._window_bytes)
        elif window:
            self._window_bytes = max(LEAST_WINDOW, self._window_bytes // 2)
        window = self._range(offset, min(self._window_bytes, self.size - offset), None)
        self._window = offset, window
        return window[:length]

    def _range(self, offset: int, length: int, crc32: int | None) -> bytes:
        if self._whole is None and self.store.supports_ranges(self.name):
            try:
                content, self._known = self.store.read_range(self.name, offset, length, self._known, crc32=crc32)
                return content
            except SourceError as error:
                if not isinstance(error.__cause__, RangesIgnoredError) or self.size > MOST_WHOLE_BYTES:
                    raise
        if self.size > MOST_WHOLE_BYTES:
            raise sentence(self.name, RangesIgnoredError())
        if self._whole is None:
            self._whole, self._known = self.store.read_range(self.name, 0, self.size, self._known)
        content = self._whole[offset : offset + length]
        if crc32 is not None and zlib.crc32(content) != crc32:
            raise sentence(self.name, RequestError("its bytes fail their checksum", passes=False))
        return content

    def __repr__(self) -> str:
        return f"RemoteBlob({redacted(self.name)!r}, {self.size:,} bytes)"
