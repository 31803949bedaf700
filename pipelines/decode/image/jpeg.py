"""The few facts of a JPEG's header that decide how it is decoded, read without decoding anything."""

from __future__ import annotations

from dataclasses import dataclass

from .exif import read_orientation
from .limits import USUAL_BYTES, check_pixels, check_scans, scans_of

__all__ = ["JpegHeader", "check_jpeg", "read_jpeg_header"]

START_OF_SCAN, END_OF_IMAGE, APP1, APP14 = 0xDA, 0xD9, 0xE1, 0xEE
NO_LENGTH = frozenset([0x01, *range(0xD0, 0xD9)])
START_OF_FRAME = frozenset([*range(0xC0, 0xD0)]) - {0xC4, 0xC8, 0xCC}
SEQUENTIAL = frozenset([0xC0, 0xC1])


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """Width and height of the stored raster in pixels, its components (1 gray, 3 colour, 4 CMYK or YCCK), the EXIF
    orientation, 1 to 8 (1 if missing), and `num_scans` as `limits.scans_of` counts them.

    With `is_buffered` a decoder has to keep the coefficients of all pixels: the file is progressive, or a scan of it
    holds some of the components.
    """

    width: int
    height: int
    components: int
    orientation: int
    num_scans: int
    is_buffered: bool


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """The header of a JPEG (ITU-T T.81, annex B), or None where it is not an ordinary one.

    None means: ask Pillow. Nothing is allocated from what the header claims.
    """
    if data[:2] != b"\xff\xd8":
        return None
    position, end = 2, len(data)
    frame, exif, has_xmp_orientation, is_progressive = b"", b"", False, False
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
            is_buffered = is_progressive or (len(frame) > 5 and data[position + 4] < frame[5])
            num_scans = scans_of(data, position) if is_buffered else data[position + 4]
            return _header(frame, exif, has_xmp_orientation, num_scans, is_buffered)
        segment = data[position + 4 : position + 2 + (data[position + 2] << 8 | data[position + 3])]
        if marker == END_OF_IMAGE or (marker in START_OF_FRAME and frame):
            return None
        if marker in START_OF_FRAME:
            frame, is_progressive = segment, marker not in SEQUENTIAL
        elif marker == APP1 and segment.startswith(b"Exif\0\0"):
            if exif:
                return None
            exif = segment[6:]
        elif marker == APP1 and segment.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            has_xmp_orientation = has_xmp_orientation or b"tiff:Orientation" in segment
        position += 4 + len(segment)
    return None


def _header(
    frame: bytes, exif: bytes, has_xmp_orientation: bool, num_scans: int, is_buffered: bool
) -> JpegHeader | None:
    if len(frame) < 6 or frame[0] != 8:
        return None
    height, width = frame[1] << 8 | frame[2], frame[3] << 8 | frame[4]
    orientation = read_orientation(exif) if exif else 0
    if not height or not width or orientation is None or (has_xmp_orientation and not orientation):
        return None
    return JpegHeader(width, height, frame[5], orientation or 1, num_scans, is_buffered)


def check_jpeg(header: JpegHeader, num_bytes: int, max_pixels: int | None) -> None:
    """Raise `UndecodableError` for a JPEG of this many bytes that costs too much by its header."""
    bytes_a_pixel = 2 * header.components if header.is_buffered else USUAL_BYTES
    check_pixels(header.width, header.height, max_pixels, bytes_a_pixel=bytes_a_pixel, kind="progressive JPEG")
    check_scans(header.num_scans, header.width, header.height, num_bytes)
