"""Plain PNG and WebP files by imagecodecs (libspng, libwebp), where it is installed: the same pixels as Pillow's, in
less time, written straight into memory that is already there.

Not by imagecodecs' libpng: on damaged pixel data it jumps out of a C function in which Python objects live, which
loses references and now and then ends the process.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UndecodableError
from ..scratch import Scratch
from .limits import USUAL_BYTES, check_pixels
from .pillow import BYTES_A_PIXEL
from .plain import PlainPicture
from .png import read_plain_png
from .webp import read_plain_webp

__all__ = ["decode_plain", "find_plain"]

REFUSALS = (RuntimeError, ValueError, MemoryError)
"""What imagecodecs raises for damaged files, and for a size that is not the header's."""


def find_plain(data: bytes, max_pixels: int | None = None) -> PlainPicture | None:
    """A plain PNG or WebP that is decoded here, within the limit on pixels; None for everything else: ask Pillow."""
    codecs = _codecs()
    plain = (read_plain_png(data, max_pixels) or read_plain_webp(data)) if codecs else None
    if plain is None or plain.codec not in codecs:
        return None
    bytes_a_pixel = BYTES_A_PIXEL.get(plain.codec.upper(), USUAL_BYTES)
    try:
        check_pixels(plain.width, plain.height, max_pixels, bytes_a_pixel=bytes_a_pixel, kind=plain.codec)
    except UndecodableError:
        return None
    return plain


def decode_plain(plain: PlainPicture, scratch: Scratch | None) -> NDArray[np.uint8] | None:
    """The pixels as they are stored, (height, width, channel) uint8: gray, RGB or RGBA.

    In `scratch`, or without one in memory of their own. None for what is damaged: ask Pillow, which then decides, and
    says why if it refuses.
    """
    shape = (plain.height, plain.width, plain.channels)
    try:
        pixels = np.empty(shape, np.uint8) if scratch is None else scratch.raster(*shape)
        _codecs()[plain.codec](plain.file, out=pixels)
    except REFUSALS:
        return None
    return pixels


@functools.cache
def _codecs() -> dict[str, Callable[..., Any]]:
    """The decoders by `PlainPicture.codec`: those that the installed imagecodecs has."""
    try:
        from imagecodecs import SPNG, WEBP, spng_decode, webp_decode
    except ImportError:
        return {}
    found: dict[str, Callable[..., Any]] = {}
    if SPNG.available:
        found["png"] = spng_decode
    if WEBP.available:
        found["webp"] = functools.partial(webp_decode, hasalpha=False)
    return found
