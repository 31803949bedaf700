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
    position, end = 2, len(data)
    frame, exif, has_xmp_orientation = b"", b"", False
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
        if marker == START_OF_SCAN:
            return _header(frame, exif, has_xmp_orientation)
        segment = data[position + 4 : position + 2 + (data[position + 2] << 8 | data[position + 3])]
        if marker == END_OF_IMAGE or (marker in START_OF_FRAME and frame):
            return None
        if marker in START_OF_FRAME:
            frame = segment
        elif marker == APP1 and segment.startswith(b"Exif\0\0"):
            if exif:
                return None
            exif = segment[6:]
        elif marker == APP1 and segment.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            has_xmp_orientation = has_xmp_orientation or b"tiff:Orientation" in segment
        position += 4 + len(segment)
    return None


def _header(frame: bytes, exif: bytes, has_xmp_orientation: bool) -> JpegHeader | None:
    if len(frame) < 6 or frame[0] != 8:
        return None
    height, width = frame[1] << 8 | frame[2], frame[3] << 8 | frame[4]
    orientation = _orientation(exif) if exif else 0
    if not height or not width or orientation is None or (has_xmp_orientation and not orientation):
        return None
    return JpegHeader(width, height, frame[5], orientation or 1)


def _orientation(tiff: bytes) -> int | None:
    """The orientation in a TIFF header's first directory (EXIF 2.3, section 4.6); 0 where it has none.

    None where the directory is damaged or says it in an unusual way.
    """
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None or len(tiff) < 10:
        return None
    little = order == "little"

    def number(start: int, size: int) -> int:
        return int.from_bytes(tiff[start : start + size], "little" if little else "big")

    directory = number(4, 4)
    num_entries = number(directory, 2)
    if directory + 2 + 12 * num_entries > len(tiff):
        return None
    for start in range(directory + 2, directory + 2 + 12 * num_entries, 12):
        if number(start, 2) == ORIENTATION_TAG:
            value = number(start + 8, 2)
            is_usual = number(start + 2, 2) == 3 and number(start + 4, 4) == 1 and 1 <= value <= 8
            return value if is_usual else None
    return 0
