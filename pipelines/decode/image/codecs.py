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
from .pillow import check_pixels
from .png import read_plain_png
from .webp import read_plain_webp

__all__ = ["decode_plain"]

REFUSALS = (RuntimeError, ValueError, MemoryError)
"""What imagecodecs raises for damaged files, and for a size that is not the header's."""


def decode_plain(data: bytes, scratch: Scratch) -> NDArray[np.uint8] | None:
    """The pixels as they are stored, (height, width, channel) uint8 in `scratch`: gray, RGB or RGBA.

    None for everything that is not a plain PNG or WebP, for what is damaged, and without imagecodecs: ask Pillow,
    which then decides, and says why if it refuses.
    """
    codecs = _codecs()
    plain = (read_plain_png(data) or read_plain_webp(data)) if codecs else None
    if plain is None or plain.codec not in codecs:
        return None
    try:
        check_pixels(plain.width, plain.height)
        pixels = scratch.raster(plain.height, plain.width, plain.channels)
        codecs[plain.codec](plain.file, out=pixels)
    except (UndecodableError, *REFUSALS):
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
