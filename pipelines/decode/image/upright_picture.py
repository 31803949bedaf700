"""A picture that Pillow has decoded, read upright and with 8 bits a channel, a box at a time."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UndecodableError
from .pillow import FAILURES, first_value, orientation_of, reason_of

__all__ = ["UprightPicture"]

STRIP_BYTES = 16 << 20

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


class UprightPicture:
    """A picture that is decoded, to be read upright and with 8 bits a channel, a box at a time.

    Of pixels of up to 16 bits the range of their type is scaled; alpha is dropped, ICC is ignored. `gray` asks for one
    channel; of others gray comes with one and colour with three. Raises `UndecodableError` with the decoder's reason.
    """

    def __init__(self, picture: Image.Image, *, gray: bool = False) -> None:
        try:
            _make_room(picture)
            picture.load()  # of a TIFF, this turns it upright and takes the orientation away
            self._orientation = orientation_of(picture)
            self._scale = _scale_of(picture)
        except FAILURES as error:
            raise UndecodableError(reason_of(error)) from error
        self._picture = picture
        self._mode = "L" if gray or _is_gray(picture) else "RGB"
        picture.info.pop("transparency", None)  # `convert` would warn of what it drops
        width, height = picture.size
        self.width, self.height = (height, width) if self._orientation >= 5 else (width, height)
        self.channels = len(self._mode)

    def pixels(self, left: int, top: int, right: int, bottom: int) -> NDArray[np.uint8]:
        """The pixels of an upright box: (height, width, channel) uint8."""
        try:
            strip = self._cut((left, top, right, bottom))
            if self._scale is not None:
                strip = Image.fromarray(_scaled(np.asarray(strip), *self._scale))
            if self._orientation != 1:
                strip = strip.transpose(TURNS[self._orientation])
            if strip.mode != self._mode:
                strip = strip.convert(self._mode)
            found = np.asarray(strip)
        except FAILURES as error:
            raise UndecodableError(reason_of(error)) from error
        return found.reshape(bottom - top, right - left, self.channels)

    def fill(self, out: NDArray[np.uint8]) -> None:
        """All of it into (height, width, channel) uint8, some rows at a time; gray is repeated."""
        step = max(1, STRIP_BYTES // max(1, self.width))
        for top in range(0, self.height, step):
            bottom = min(self.height, top + step)
            out[top:bottom] = self.pixels(0, top, self.width, bottom)

    def _cut(self, box: tuple[int, int, int, int]) -> Image.Image:
        """The stored pixels of an upright box."""
        if box == (0, 0, self.width, self.height):
            return self._picture
        left, top, right, bottom = box
        columns, rows = (left, right), (top, bottom)
        if self._orientation >= 5:
            columns, rows = rows, columns
        width, height = self._picture.size
        if self._orientation in (2, 3, 7, 8):
            columns = (width - columns[1], width - columns[0])
        if self._orientation in (3, 4, 6, 7):
            rows = (height - rows[1], height - rows[0])
        return self._picture.crop((columns[0], rows[0], columns[1], rows[1]))

    def image(self) -> Image.Image:
        """All of it, "L" or "RGB": the picture itself where nothing has to change."""
        picture = self._picture
        if self._scale is not None:
            eight = np.empty((picture.height, picture.width), np.uint8)
            step = max(1, STRIP_BYTES // max(1, picture.width))
            for top in range(0, picture.height, step):
                rows = picture.crop((0, top, picture.width, min(picture.height, top + step)))
                eight[top : top + step] = _scaled(np.asarray(rows), *self._scale)
            picture = Image.fromarray(eight)
        try:
            if self._orientation != 1:
                picture = picture.transpose(TURNS[self._orientation])
            return picture if picture.mode == self._mode else picture.convert(self._mode)  # which always copies
        except FAILURES as error:
            raise UndecodableError(reason_of(error)) from error


def _make_room(picture: Image.Image) -> None:
    """Memory for a large TIFF, as Pillow makes it on loading, but without a warning of what is allowed."""
    size = getattr(picture, "_tile_size", None)
    if picture.format == "TIFF" and size is not None and getattr(picture, "_im", picture) is None:
        picture.im = Image.core.new(picture.mode, size)  # type: ignore[attr-defined]


def _is_gray(picture: Image.Image) -> bool:
    return picture.mode in ("1", "L", "LA", "La") or picture.mode.startswith("I")


def _scale_of(picture: Image.Image) -> tuple[int, int] | None:
    """The lowest value and the number of bits of gray of up to 16 bits; None for pictures of 8 bits.

    Where Pillow's `convert` would clip. Pillow itself brings PNG, PNM and JPEG 2000 to the range of 16 bits; the
    samples of a TIFF stay as they are.
    """
    if picture.mode == "F":
        raise UndecodableError("floating-point pixels have no agreed range")
    if not picture.mode.startswith("I"):
        return None
    bits, lowest = 16, 0
    if picture.format == "TIFF":
        tags = picture.getexif()
        bits = int(first_value(tags.get(BITS_PER_SAMPLE, 1)))
        lowest = -(1 << (bits - 1)) if first_value(tags.get(SAMPLE_FORMAT, 1)) == SIGNED else 0
    if not 1 <= bits <= 16:
        raise UndecodableError(f"pixels of {bits} bits have no agreed range")
    return lowest, bits


def _scaled(values: NDArray[Any], lowest: int, bits: int) -> NDArray[np.uint8]:
    """(height, width) samples as 8 bits, some rows at a time: wide temporaries of a giant would not fit."""
    eight, scale = np.empty(values.shape, np.uint8), _eight_of(bits)
    step = max(1, (1 << 20) // max(1, values.shape[1]))
    for top in range(0, len(values), step):
        places = values[top : top + step].astype(np.int64) - lowest
        np.take(scale, places, out=eight[top : top + step], mode="clip")
    return eight


@functools.lru_cache(maxsize=32)
def _eight_of(bits: int) -> NDArray[np.uint8]:
    """Each value of so many bits, over the range of its type, as 8: (2^bits,) uint8, halves rounded up."""
    highest = (1 << bits) - 1
    return ((np.arange(highest + 1) * 255 + highest // 2) // highest).astype(np.uint8)
