"""The one thing about ogg that its decoder gets wrong: where the last page begins."""

from __future__ import annotations

from ...storage.blob import Read

__all__ = ["last_page_start"]


def last_page_start(read: Read, size: int, frames: int) -> int:
    """The frame at which the last page of an ogg begins, 0 where it is not found.

    It ends where the recording does, not where its last packet does, so that within it libvorbisfile seeks to the
    wrong place. A page is 65,307 bytes long at most; its header tells the frame it ends with (RFC 3533).
    """
    for length in (1 << 14, 1 << 18):
        offset = max(0, size - length)
        tail, ends, place = read(offset, length), set[int](), -1
        while (place := tail.find(b"OggS\0", place + 1)) >= 0:
            ends.add(int.from_bytes(tail[place + 6 : place + 14], "little", signed=True))
        if before := [end for end in ends if 0 < end < frames]:
            return max(before)
    return 0
