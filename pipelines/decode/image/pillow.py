"""Anything Pillow opens, as upright uint8 pixels."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import UndecodableError
from .exif import ORIENTATION_TAG

__all__ = ["MAX_PIXELS", "as_rgb", "open_image", "orientation_of"]

MAX_PIXELS = 178_956_970  # where Pillow, too, calls it a decompression bomb
"""Largest picture that is decoded, in pixels; a header that claims more is refused before anything is allocated."""

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
        picture = Image.open(io.BytesIO(data))
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
    """The EXIF orientation, 1 to 8; 1 where there is none, or the EXIF block is damaged."""
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
    """Scale 16-bit gray to 8 bits, where Pillow's `convert` would clip it."""
    if not picture.mode.startswith("I"):
        if picture.mode == "F":
            raise ValueError("floating-point pixels have no agreed range")
        return picture
    values = np.asarray(picture).astype(np.int64)
    scaled = (np.clip(values, 0, 65_535) * 255 + 32_767) // 65_535
    return Image.fromarray(scaled.astype(np.uint8))


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
