"""Still WebP files: what their container says (RFC 9649), read without decoding anything."""

from __future__ import annotations

from collections.abc import Iterator

from .exif import read_orientation
from .plain import PlainPicture

__all__ = ["read_plain_webp"]

IS_ANIMATED = 0x02
"""Of the flags in a VP8X chunk."""


def read_plain_webp(data: bytes) -> PlainPicture | None:
    """A still WebP that is stored upright; None where it is anything else or may be damaged: ask Pillow.

    Its alpha, if any, is left out by the decoder. Nothing is allocated from what the header claims.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    size = _size(data[12:30])
    if size is None or not _is_upright(data):
        return None
    return PlainPicture("webp", *size, 3, data)


def _size(first_chunk: bytes) -> tuple[int, int] | None:
    """(height, width) in pixels by the first chunk: VP8 (RFC 6386, section 9.1), VP8L or VP8X."""
    kind, head = first_chunk[:4], first_chunk[8:]
    if len(head) < 10:
        return None
    if kind == b"VP8 " and head[3:6] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(head[start : start + 2], "little") & 0x3FFF for start in (6, 8))
        return height, width
    if kind == b"VP8L" and head[0] == 0x2F:
        bits = int.from_bytes(head[1:5], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8X" and not head[0] & IS_ANIMATED:
        width, height = (int.from_bytes(head[start : start + 3], "little") + 1 for start in (4, 7))
        return height, width
    return None


def _is_upright(data: bytes) -> bool:
    """Whether nothing in the file says, or may say, that the picture has to be turned."""
    exif: bytes | None = None
    for kind, begin, end in _chunks(data):
        if kind == b"XMP " and b"tiff:Orientation" in data[begin:end]:
            return False
        if kind == b"EXIF":
            if exif is not None:
                return False
            exif = data[begin:end]
    return exif is None or read_orientation(exif.removeprefix(b"Exif\0\0")) in (0, 1)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, begin, end) of each chunk's content; chunks begin at even places."""
    position = 12
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        yield data[position : position + 4], position + 8, position + 8 + length
        position += 8 + length + (length & 1)
