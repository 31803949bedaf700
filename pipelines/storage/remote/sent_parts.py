"""The parts of a file on their way into a bucket, and the digests by which what arrived is recognised."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import IO, Any

__all__ = ["PART_BYTES", "SentParts", "part_bytes"]

PART_BYTES = 8 << 20
MOST_PARTS = 9000
"""A store takes 10,000."""


class SentParts:
    """Reads a file in parts of `part_bytes`, once; then knows what was sent."""

    def __init__(self, file: IO[bytes], part_bytes: int) -> None:
        self._file, self.part_bytes, self.bytes = file, part_bytes, 0
        self._sha256, self._whole, self._parts = hashlib.sha256(), _md5(), list[bytes]()

    def __iter__(self) -> Iterator[bytes]:
        while part := self._file.read(self.part_bytes):
            self.bytes += len(part)
            self._sha256.update(part)
            self._whole.update(part)
            self._parts.append(_md5(part).digest())
            yield part

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was sent, in hex."""
        return self._sha256.hexdigest()

    def has_tag(self, tag: str) -> bool:
        """Whether a store gives this tag to such an object: the MD5 of the whole, or that of the MD5s of its parts."""
        in_parts = f"{_md5(b''.join(self._parts)).hexdigest()}-{len(self._parts)}"
        return tag.strip('"').lower() in (self._whole.hexdigest(), in_parts)


def part_bytes(size: int) -> int:
    """Bytes of a part of an object of `size` bytes."""
    return max(PART_BYTES, -(-size // MOST_PARTS))


def _md5(content: bytes = b"") -> Any:
    return hashlib.md5(content, usedforsecurity=False)
