"""Where a stream of MPEG-TS packets begins in a file that was cut out of one: ISO/IEC 13818-1.

Packets have 188 bytes, in m2ts 4 more before each; every one begins with 0x47. Programmes are listed by a table in some
of them, several times per second.
"""

from __future__ import annotations

import re

from ...storage.blob import Read

__all__ = ["first_table"]

SYNC = b"G"
PACKETS = ((188, 0), (192, 4))
"""Bytes from packet to packet, and of them those before the first of a packet."""

CHAIN = 8
"""Packets that must follow each other where a search is to believe in them."""

MOST_JUNK = 1 << 16
SEARCHED = 1 << 20
TABLE = re.compile(rb"G[\x40\x60][\x00\x11][\x10-\x1f\x30-\x3f]", re.DOTALL)


def first_table(read: Read, size: int) -> int | None:
    """The byte at which the first packet with a table of programmes begins; None if there is none near the start."""
    content = read(0, min(size, SEARCHED))
    for stride, lead in PACKETS:
        start = _first_packet(content, stride)
        for place in range(start, len(content), stride) if start is not None else ():
            if place >= lead and TABLE.match(content, place):
                return place - lead
    return None


def _first_packet(content: bytes, stride: int) -> int | None:
    last = min(MOST_JUNK, len(content) - (CHAIN - 1) * stride)
    place = content.find(SYNC, 0, max(0, last))
    while place >= 0:
        if content[place : place + CHAIN * stride : stride] == SYNC * CHAIN:
            return place
        place = content.find(SYNC, place + 1, last)
    return None
