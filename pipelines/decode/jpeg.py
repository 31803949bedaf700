"""The few facts of a JPEG's header that decide how it is decoded, read without decoding anything."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["JpegHeader", "read_jpeg_header"]

START_OF_SCAN, END_OF_IMAGE, APP1, APP14 = 0xDA, 0xD9, 0xE1, 0xEE
NO_LENGTH = frozenset([0x01, *range(0xD0, 0xD9)])
START_OF_FRAME = frozenset([*range(0xC0, 0xD0)]) - {0xC4, 0xC8, 0xCC}
ORIENTATION_TAG = 0x0112


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """Width and height of the stored raster in pixels, its components (1 gray, 3 colour, 4 CMYK or YCCK), and
    the EXIF orientation, 1 to 8 (1 where there is none)."""

    width: int
    height: int
    components: int
    orientation: int


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """The header of a JPEG (ITU-T T.81, annex B), or None where it is not an ordinary one.

    None means: ask a more patient decoder. Nothing is allocated from what the header claims.
    """
    if data[:2] != b"\xff\xd8":
        return None
    position, end, orientation = 2, len(data), 1
    while position + 4 <= end:
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in NO_LENGTH:
            position += 2
            continue
        if marker in (START_OF_SCAN, END_OF_IMAGE):
            return None
        length = data[position + 2] << 8 | data[position + 3]
        if marker in START_OF_FRAME:
            if length < 8 or position + 10 > end:
                return None
            height = data[position + 5] << 8 | data[position + 6]
            width = data[position + 7] << 8 | data[position + 8]
            if not height or not width or data[position + 4] != 8:
                return None
            return JpegHeader(width, height, data[position + 9], orientation)
        if marker == APP1 and data[position + 4 : position + 10] == b"Exif\0\0":
            orientation = _orientation(data[position + 10 : position + 2 + length]) or orientation
        position += 2 + length
    return None


def _orientation(tiff: bytes) -> int | None:
    """The orientation in a TIFF header's first directory (EXIF 2.3, section 4.6), None without a sound one."""
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None or len(tiff) < 10:
        return None
    little = order == "little"

    def number(start: int, size: int) -> int:
        return int.from_bytes(tiff[start : start + size], "little" if little else "big")

    directory = number(4, 4)
    for entry in range(number(directory, 2)):
        start = directory + 2 + 12 * entry
        if start + 12 > len(tiff):
            return None
        if number(start, 2) == ORIENTATION_TAG:
            value = number(start + 8, 2)
            return value if number(start + 2, 2) == 3 and 1 <= value <= 8 else None
    return None
