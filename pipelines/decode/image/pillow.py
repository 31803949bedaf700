"""Anything Pillow opens, as upright uint8 pixels."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import UndecodableError
from .exif import ORIENTATION_TAG

__all__ = ["MAX_PIXELS", "as_rgb", "open_image", "orientation_of"]

MAX_PIXELS = 178_956_970  # where Pillow, too, calls it a decompression bomb
"""Largest picture that is decoded, in pixels; a header that claims more is refused before anything is allocated."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Those that Pillow opens for us: of the others, one (EPS) starts a program, and none is packed or played."""

BITS_PER_SAMPLE, SAMPLE_FORMAT, SIGNED = 258, 339, 2
"""Tags of TIFF 6.0, and the value of the second for signed samples."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
FAILURES = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    MemoryError,
    OverflowError,
    NotImplementedError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow's readers raise on damaged files, by their own tests."""


def open_image(data: bytes) -> Image.Image:
    """Open without decoding. Raises `UndecodableError`."""
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise UndecodableError("not an image in any format known here") from error
    except FAILURES as error:
        raise UndecodableError(_reason(error)) from error
    check_pixels(*picture.size)
    return picture


def check_pixels(width: int, height: int) -> None:
    """Raise `UndecodableError` for a picture too large to decode."""
    if width * height > MAX_PIXELS:
        raise UndecodableError(f"{width} × {height} pixels are more than the {MAX_PIXELS:,} allowed")


def orientation_of(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if missing, or the EXIF block is damaged."""
    try:
        orientation = picture.getexif().get(ORIENTATION_TAG, 1)
    except FAILURES:
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def as_rgb(picture: Image.Image, *, gray: bool = False) -> Image.Image:
    """Decode: upright, RGB (or "L" if `gray`), 8 bits. Alpha is dropped, 16 bits are scaled, ICC is ignored.
    Where nothing has to change, it is the picture itself.
    Raises `UndecodableError` with the decoder's reason.
    """
    try:
        picture.load()  # of a TIFF, this turns it upright and takes the orientation away
        orientation = orientation_of(picture)
        eight = _eight_bits(picture)
        eight.info.pop("transparency", None)  # `convert` would warn of what it drops
        turned = eight.transpose(TURNS[orientation]) if orientation != 1 else eight
        mode = "L" if gray else "RGB"
        return turned if turned.mode == mode else turned.convert(mode)  # `convert` always copies
    except FAILURES as error:
        raise UndecodableError(_reason(error)) from error


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Scale gray of up to 16 bits to 8 over the range of its type, where Pillow's `convert` would clip it.

    Pillow itself brings PNG, PNM and JPEG 2000 to the range of 16 bits; the samples of a TIFF stay as they are.
    """
    if not picture.mode.startswith("I"):
        if picture.mode == "F":
            raise ValueError("floating-point pixels have no agreed range")
        return picture
    bits, lowest = 16, 0
    if picture.format == "TIFF":
        tags = picture.getexif()
        bits = int(_first(tags.get(BITS_PER_SAMPLE, 1)))
        lowest = -(1 << (bits - 1)) if _first(tags.get(SAMPLE_FORMAT, 1)) == SIGNED else 0
    if not 1 <= bits <= 16:
        raise ValueError(f"pixels of {bits} bits have no agreed range")
    values, highest = np.asarray(picture).astype(np.int64) - lowest, (1 << bits) - 1
    scaled = (np.clip(values, 0, highest) * 255 + highest // 2) // highest
    return Image.fromarray(scaled.astype(np.uint8))


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and value else value


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
