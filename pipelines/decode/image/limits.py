"""What a picture may cost before it is decoded: pixels, memory and time, known from its header.

A header of some bytes can claim any size, and a JPEG may go over all of its pixels again and again.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Callable
from typing import Any

from PIL import Image

from ...order.checked_numbers import whole_number
from ..errors import UndecodableError

__all__ = [
    "USUAL_BYTES",
    "check_pixels",
    "check_scans",
    "checked_limit",
    "giants_turn",
    "is_giant",
    "most_pixels",
    "scans_of",
]

USUAL_BYTES = 4
"""Of memory for each pixel while a picture is decoded, for most formats."""

GIANT_BYTES = 256 << 20
FREE_SCAN_PIXELS = 1 << 29
SCAN_PIXELS_A_BYTE = 500
START_OF_SCAN = b"\xff\xda"

_turn = threading.Lock()
_no_wait = contextlib.nullcontext()


class GiantsTurn:
    """One thread at a time is inside; what it leaves is given back to the system before the next one enters.

    Without that, the C library keeps the memory of each giant for the thread that decoded it.
    """

    def __enter__(self) -> None:
        _turn.acquire()

    def __exit__(self, *_: object) -> None:
        _trim()(0)
        _turn.release()


_giants_turn = GiantsTurn()


@functools.cache
def _trim() -> Callable[[int], object]:
    """glibc's malloc_trim; elsewhere nothing."""
    try:
        found: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return lambda _: None
    return found


def _renew_turn() -> None:
    global _turn
    _turn = threading.Lock()  # a fork may have copied it while it was held


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_turn)


def giants_turn(num_bytes: int) -> Any:
    """A context in which this much memory is used: one thread at a time has more than 256 MiB for a picture."""
    return _giants_turn if is_giant(num_bytes) else _no_wait


def is_giant(num_bytes: int) -> bool:
    """Whether a picture of so many bytes is decoded while no other giant is, and at a part of its size where it can."""
    return num_bytes > GIANT_BYTES


def checked_limit(max_pixels: int | None) -> int | None:
    """The setting `max_pixels`. Raises `TypeError` or `ValueError` for anything but a whole number from 1 up."""
    return None if max_pixels is None else whole_number("max_pixels", max_pixels)


def most_pixels(max_pixels: int | None) -> int | None:
    """The setting `max_pixels`; where it is None twice PIL.Image.MAX_IMAGE_PIXELS, and no limit where that is None."""
    if max_pixels is None and Image.MAX_IMAGE_PIXELS is not None:
        return 2 * Image.MAX_IMAGE_PIXELS
    return max_pixels


def check_pixels(
    width: int,
    height: int,
    max_pixels: int | None = None,
    *,
    bytes_a_pixel: int = USUAL_BYTES,
    kind: str = "",
) -> None:
    """Raise `UndecodableError` for a picture with more pixels than are allowed.

    That is `max_pixels` or, with None, twice PIL.Image.MAX_IMAGE_PIXELS, where Pillow stops too: 178,956,970 unless
    somebody sets it, and no limit where that is None. Of a `kind` that takes more memory to decode (`bytes_a_pixel`
    instead of 4), fewer are allowed.
    """
    most = most_pixels(max_pixels)
    if most is None:
        return
    allowed = most * USUAL_BYTES // max(USUAL_BYTES, bytes_a_pixel)
    if width * height > allowed:
        of = f" of {kind}" if bytes_a_pixel > USUAL_BYTES else ""
        raise UndecodableError(
            f"{width:,} × {height:,} pixels{of} are more than the {allowed:,} allowed; a larger max_pixels allows more"
        )


def scans_of(data: bytes, start: int = 0) -> int:
    """How often a JPEG goes over a component of all its pixels: the components of each scan from byte `start` on."""
    num, place = 0, data.find(START_OF_SCAN, start)
    while place >= 0:
        num += min(4, max(1, data[place + 4])) if place + 4 < len(data) else 1
        place = data.find(START_OF_SCAN, place + 2)
    return num


def check_scans(num_scans: int, width: int, height: int, num_bytes: int) -> None:
    """Raise `UndecodableError` for a JPEG whose scans take long for its size.

    Allowed are 2²⁹ pixels in all scans together, about a second, and 500 for each byte of the file; ordinary files need
    less than 100.
    """
    if num_scans * width * height > FREE_SCAN_PIXELS + SCAN_PIXELS_A_BYTE * num_bytes:
        raise UndecodableError(
            f"its {num_scans:,} scans of {width:,} × {height:,} pixels are more than {num_bytes:,} bytes need"
        )
