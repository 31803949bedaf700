"""Whether a seek in a flac can be believed. Format: RFC 9639."""

from __future__ import annotations

from ...storage.blob import Read
from .mp3 import behind_tags

__all__ = ["seeks_exactly"]

MOST_BLOCKS = 1024
LAST_BLOCK = 0x80
FIXED_BLOCKS = b"\xff\xf8"
"""How a frame begins whose number counts frames; one of a stream with blocks of varying sizes counts samples."""


def seeks_exactly(read: Read, size: int) -> bool:
    """False where the head contradicts the first frame: frames are numbered as if all blocks were of one size, and the
    head says that they are not. A decoder multiplies that number by a size it guesses, and lands somewhere.
    """
    place = behind_tags(read, size)
    if read(place, 4) != b"fLaC":
        return True
    blocks = read(place + 8, 4)  # the smallest and the largest block, at the beginning of STREAMINFO
    if blocks[:2] == blocks[2:]:
        return True
    place += 4
    for _ in range(MOST_BLOCKS):
        header = read(place, 4)
        place += 4 + int.from_bytes(header[1:], "big")
        if len(header) < 4 or place > size:
            return False
        if header[0] & LAST_BLOCK:
            return read(place, 2) != FIXED_BLOCKS
    return False
