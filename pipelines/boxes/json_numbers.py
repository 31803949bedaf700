"""Numbers of a parsed JSON, checked and converted to arrays."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import chain

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST", "joined"]

LARGEST = 1e8
"""The largest coordinate, in pixels."""


def joined(lists: Iterable[list[float]]) -> NDArray[np.float64]:
    """The numbers of some lists, one after another. Raises `ValueError` for anything but numbers of ±1e8 at most."""
    try:
        numbers = list(chain.from_iterable(lists))
        array = np.frombuffer(struct.pack(f"{len(numbers)}d", *numbers))
    except (TypeError, struct.error, OverflowError):
        raise ValueError("it must be lists of numbers") from None
    if not np.abs(array).max(initial=0.0) <= LARGEST:
        raise ValueError(f"its numbers must be finite, and ±{LARGEST:.0e} at most")
    return array
