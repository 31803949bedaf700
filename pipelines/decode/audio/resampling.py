"""Another sample rate, window by window: the same as resampling the whole recording, by soxr.

Output frame o of a recording stands at its frame o · from_rate / to_rate. A stretch that begins where that is a
whole number for a whole o has the phase of the whole; what lies on both sides of the window, as long as the filter,
is read with it and cut off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_RATIO", "import_soxr", "resample_window", "source_stretch"]

MOST_RATIO = 256
"""Rates further apart are a header that lies: what soxr allocates and takes grows with their ratio."""

MARGIN = 256
"""Frames of the slower rate on each side of a window; soxr's filter is shorter (128 are enough for 24 bits)."""

ReadFrames = Callable[[int, int], NDArray[np.float32]]
"""Frames [start, stop) of a recording as (time, channel) float32."""


def source_stretch(start: int, length: int, from_rate: int, to_rate: int) -> tuple[int, int]:
    """The frames [begin, end) that output frames [start, start + length) follow from.

    Begin falls on a whole output frame; both may lie outside the recording.
    """
    step = from_rate // math.gcd(from_rate, to_rate)
    margin = -(-MARGIN * max(from_rate, to_rate) // to_rate)
    begin = (start * from_rate // to_rate - margin) // step * step
    end = -(-(start + length) * from_rate // to_rate) + margin
    return begin, end


def resample_window(
    read: ReadFrames, start: int, length: int, *, frames: int, from_rate: int, to_rate: int
) -> NDArray[np.float32]:
    """Output frames [start, start + length) of a recording of `frames`, as (length, channel) float32.

    Rates in Hz. Raises `ImportError` without soxr.
    """
    begin, end = source_stretch(start, length, from_rate, to_rate)
    begin = max(0, begin)
    source = read(begin, min(end, frames))
    resampled = import_soxr().resample(source, from_rate, to_rate)
    skipped = start - begin * to_rate // from_rate
    window: NDArray[np.float32] = resampled[skipped : skipped + length]
    if len(window) < length:  # rounding of the last frame
        window = np.concatenate([window, np.zeros((length - len(window), source.shape[1]), np.float32)])
    return window


@cache
def import_soxr() -> Any:
    """The soxr package. Raises `ImportError` with the command that installs it."""
    try:
        import soxr
    except ImportError as error:
        raise ImportError("another sample rate needs soxr: pip install soxr.") from error
    return soxr
