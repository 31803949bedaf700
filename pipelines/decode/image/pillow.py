"""What Pillow opens for us, what decoding it costs, and why it refuses."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import re
import struct
from typing import Any

from PIL import Image

from ...modality import HEAD_BYTES, find_modality
from ..errors import UndecodableError
from .exif import ORIENTATION_TAG
from .jpeg2000 import check_jpeg2000
from .limits import USUAL_BYTES, check_pixels, check_scans, scans_of

__all__ = [
    "FAILURES",
    "first_value",
    "memory_of",
    "open_image",
    "open_to_decode",
    "orientation_of",
    "reason_of",
]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""The formats that Pillow may open. The others are neither packed nor played; one of them, EPS, starts a program."""

FAILURES = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    MemoryError,
    OverflowError,
    RuntimeError,  # libavif's
    ZeroDivisionError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow's readers raise on damaged files, by their own tests."""

NOT_THIS_FORMAT = (SyntaxError, IndexError, TypeError, struct.error)
"""What a reader raises, by Pillow's rules, where another one is to be asked."""

BYTES_A_PIXEL = {"JPEG2000": 16, "AVIF": 12, "WEBP": 16}
"""What their decoders take, beyond the usual: integers of 32 bits, planes of their own, and copies."""

TURNED_TIFF_BYTES = 8
"""Pillow turns a TIFF when it is loaded, into a copy."""

RLE_BYTES = 100
"""Stands for time: Pillow unpacks a BMP of runs in Python, a fifth of a microsecond for each pixel."""

TILE_WIDTH, TILE_LENGTH = 322, 323
FREE_TILE_PIXELS = 1 << 22

NUMBERED = re.compile(r"(decoder error )?-?\d*")
"""A reason that is nothing but the number of one."""


def open_image(data: bytes, max_pixels: int | None = None) -> Image.Image:
    """Open without decoding. Raises `UndecodableError`, also for more than `max_pixels`: see `check_pixels`.

    As `Image.open`, but for its warning of pictures that are large and allowed.
    """
    picture = _opened(data)
    bytes_a_pixel, kind = _cost_of(picture)
    check_pixels(*picture.size, max_pixels, bytes_a_pixel=bytes_a_pixel, kind=kind)
    return picture


def _cost_of(picture: Image.Image) -> tuple[int, str]:
    """Bytes for each pixel while it is decoded, and the format in words. Raises `UndecodableError` for bad tiles."""
    kind = picture.format or ""
    if "progressive" in picture.info:
        return 2 * len(picture.getbands()), "progressive JPEG"
    if kind == "BMP" and any(tile[0] == "bmp_rle" for tile in getattr(picture, "tile", ())):
        return RLE_BYTES, "a BMP of runs"
    if kind == "TIFF":
        _check_tiles(picture)
        if orientation_of(picture) != 1:
            return TURNED_TIFF_BYTES, "a turned TIFF"
    return BYTES_A_PIXEL.get(kind, USUAL_BYTES), kind


def _check_tiles(picture: Image.Image) -> None:
    tags: Any = getattr(picture, "tag_v2", {})
    width, length = (first_value(tags.get(tag)) for tag in (TILE_WIDTH, TILE_LENGTH))
    if not isinstance(width, int) or not isinstance(length, int):
        return
    if width * length > FREE_TILE_PIXELS + 4 * picture.width * picture.height:
        raise UndecodableError(f"its tiles of {width:,} × {length:,} pixels are larger than itself")


def memory_of(picture: Image.Image) -> int:
    """Bytes that decoding it takes, by its header."""
    return picture.width * picture.height * min(_cost_of(picture)[0], max(BYTES_A_PIXEL.values()))


def open_to_decode(data: bytes, max_pixels: int | None = None) -> Image.Image:
    """As `open_image`, for a picture that is decoded: raises `UndecodableError` also for one that takes too long."""
    picture = open_image(data, max_pixels)
    if picture.format in ("JPEG", "MPO"):
        check_scans(scans_of(data), *picture.size, len(data))
    if picture.format == "JPEG2000":
        check_jpeg2000(data)
    return picture


def _opened(data: bytes) -> Image.Image:
    file, prefix = io.BytesIO(data), data[:16]
    for name in _installed():
        factory, accepts = Image.OPEN[name]
        is_accepted = accepts is None or accepts(prefix)
        if isinstance(is_accepted, str):
            raise UndecodableError(f"{name} cannot be read by this Pillow")
        if is_accepted:
            file.seek(0)
            try:
                return factory(file, "")
            except NOT_THIS_FORMAT:
                continue
            except FAILURES as error:
                raise UndecodableError(reason_of(error)) from error
    why = find_modality("image").why_unknown(data[:HEAD_BYTES])
    raise UndecodableError(why or "not an image in any format known here")


@functools.cache
def _installed() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow has; their readers are imported."""
    for module in ("Bmp", "Gif", "Jpeg", "Ppm", "Png", "WebP", "Tiff", "Jpeg2K", "Avif"):
        with contextlib.suppress(ImportError):
            importlib.import_module(f"PIL.{module}ImagePlugin")
    return tuple(name for name in FORMATS if name in Image.OPEN)


def orientation_of(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if missing, or the EXIF block is damaged.

    Of a picture that is not loaded, what stands before its pixels; nothing is decoded for it.
    """
    try:
        orientation = Image.Image.getexif(picture).get(ORIENTATION_TAG, 1)  # that of a PNG would decode all of it
    except FAILURES:
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def first_value(value: Any) -> Any:
    """Of a TIFF's tag: its value, or the first of several."""
    return value[0] if isinstance(value, tuple) and value else value


def reason_of(error: BaseException) -> str:
    """What Pillow's readers said, where it was meant for a reader: not what Python says of a slip in them."""
    if isinstance(error, MemoryError):
        return "it takes more memory than there is"
    text = " ".join(str(error).split()).rstrip(".")
    is_said = isinstance(error, OSError | SyntaxError | EOFError) and not NUMBERED.fullmatch(text)
    return re.sub(r"<[^<>]*? at 0x[0-9a-fA-F]+>", "the file", text) if is_said else "damaged"
