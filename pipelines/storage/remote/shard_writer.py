"""What a download writes to: bytes go to the disk and into a digest in pieces of 1 MiB or more."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable

from .cache_errors import ChecksumError, cannot_keep

__all__ = ["ShardWriter", "digest_of"]

PIECE_BYTES = 1 << 20
"""Smaller pieces are gathered: each would take the interpreter's lock again after its digest and after its write."""

LONGEST_GATHERING_SECONDS = 1.0
"""After this time small pieces are written too: a process that waits for the file sees progress by its time."""


class ShardWriter:
    """Takes the `size` bytes of a file, in order; `written` says how many have come.

    Raises `ChecksumError` for too many, `CacheError` where the disk does not take them.
    """

    def __init__(self, descriptor: int, name: str, size: int, *, with_digest: bool) -> None:
        self.name, self.size, self.written = name, size, 0
        self._descriptor = descriptor
        self._digest = hashlib.sha256() if with_digest else None
        self._gathered = bytearray()
        self._put_at = time.monotonic()

    def write(self, content: bytes | bytearray | memoryview) -> int:
        """Append bytes; returns their number. The caller may use the buffer again at once."""
        view = memoryview(content).cast("B")
        if self.written + len(view) > self.size:
            raise ChecksumError(
                f"{self.name}: more than {self.size:,} bytes came, which is its size. It was replaced meanwhile, or "
                "its manifest is not the one beside it."
            )
        self.written += len(view)
        is_little = len(view) + len(self._gathered) < PIECE_BYTES
        if is_little and time.monotonic() - self._put_at < LONGEST_GATHERING_SECONDS:
            self._gathered += view
        else:
            self._flush()
            self._put(view)
        return len(view)

    def finish(self, sha256: str | None) -> None:
        """Check what came, once all of it has come."""
        self._flush()
        if self.written != self.size:
            raise ChecksumError(f"{self.name}: {self.written:,} of {self.size:,} bytes came. Fetch it again.")
        if self._digest is not None and sha256 is not None and self._digest.hexdigest() != sha256.lower():
            raise ChecksumError(
                f"{self.name}: its SHA-256 is {self._digest.hexdigest()[:16]}…, {sha256[:16].lower()}… was expected. "
                "Fetch it again; if that changes nothing, it was replaced or is damaged where it lies."
            )

    def _flush(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, bytearray()
            self._put(memoryview(gathered))

    def _put(self, view: memoryview) -> None:
        if self._digest is not None:
            self._digest.update(view)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
            self._put_at = time.monotonic()
        except OSError as error:
            raise cannot_keep(self.name, error) from error


def digest_of(read: Callable[[int, int], bytes], size: int) -> str:
    """The SHA-256 of all that `read(offset, length)` gives."""
    digest = hashlib.sha256()
    for offset in range(0, size, PIECE_BYTES):
        digest.update(read(offset, PIECE_BYTES))
    return digest.hexdigest()
