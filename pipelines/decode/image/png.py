"""PNG files of which every decoder makes the same: still, upright, 8 bits a channel (W3C PNG, third edition).

Pillow reads what stands before the pixels and is asked what it found, so that what it refuses there is refused. Handed
on are the header and the pixel data alone: no other decoder gets to see a text, a profile or a gamma.
"""

from __future__ import annotations

from ..errors import UndecodableError
from .pillow import open_image
from .plain import PlainPicture

__all__ = ["read_plain_png"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_END = 33  # the signature, then IHDR of 13 bytes between its length, name and checksum
END = b"\0\0\0\0IEND\xaeB`\x82"
CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
UNUSUAL = frozenset(
    ["exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp", "transparency", "interlace", "loop", "bbox"]
)
"""What Pillow notes of a picture that may be turned, has a transparent colour, is interlaced or moves."""
HARMLESS_TAIL = frozenset([b"tEXt", b"tIME"])
MAX_TAIL = 1 << 20  # bytes after the pixels; Pillow refuses a file with too many of them


def read_plain_png(data: bytes, max_pixels: int | None = None) -> PlainPicture | None:
    """The PNG without all that is not pixels, or None where it is not plain or may be damaged: ask Pillow.

    The pixel data itself is not looked at. Nothing is allocated from what the header claims.
    """
    if not data.startswith(SIGNATURE) or data[8:16] != b"\0\0\0\x0dIHDR" or data[24:25] != b"\x08":
        return None
    span = _pixel_data(data)
    if span is None:
        return None
    try:
        picture = open_image(data, max_pixels)
    except UndecodableError:
        return None
    if picture.mode not in CHANNELS or not UNUSUAL.isdisjoint(picture.info):
        return None
    begin, end = span
    file = data if begin == HEADER_END else b"".join((data[:HEADER_END], memoryview(data)[begin:end], END))
    return PlainPicture("png", picture.height, picture.width, CHANNELS[picture.mode], file)


def _pixel_data(data: bytes) -> tuple[int, int] | None:
    """From the first IDAT chunk to the end of the last; None unless they adjoin and only an end or remarks follow."""
    position, begin, end = HEADER_END, 0, 0
    while position + 12 <= len(data):
        kind = data[position + 4 : position + 8]
        following = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if kind == b"IDAT" and not end:
            begin = begin or position
        elif begin:
            end = end or position
            if kind == b"IEND":
                remarks = data[end:position].lower()
                is_harmless = len(remarks) < MAX_TAIL and b"exif" not in remarks and b"xmp" not in remarks
                return (begin, end) if is_harmless else None
            if kind not in HARMLESS_TAIL:
                return None
        elif kind == b"IHDR":
            return None
        position = following
    return None
