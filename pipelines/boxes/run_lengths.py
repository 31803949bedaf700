"""COCO's run lengths: how many pixels are outside, inside, outside, ... down the columns of a mask.

The compressed form writes each number as characters of 5 bits: the low ones first, 32 added where more follow, 48 added
to all, the last one's bit 16 the sign. From the fourth number on, the difference to the number two before is written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .crossings import Crossings

__all__ = [
    "MAX_PIXELS",
    "checked_runs",
    "decode_strings",
    "mask_to_runs",
    "run_crossings",
    "runs_to_mask",
    "runs_to_string",
    "string_to_runs",
]

Runs = NDArray[np.uint32]

MAX_PIXELS = 1 << 28
"""The largest number of pixels of a mask."""
_MAX_CHARACTERS = 7


def checked_runs(runs: ArrayLike, size: tuple[int, int]) -> Runs:
    """Run lengths of a mask (height, width) as uint32.

    Raises `ValueError` if they are not whole numbers from 0 whose sum is height × width, or the mask is too large.
    """
    height, width = size
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"a mask is {height} × {width} pixels; it may have 1 to {MAX_PIXELS:,}.")
    try:
        numbers = np.asarray(runs)
    except ValueError:  # lists of different lengths
        numbers = np.zeros((0, 0))
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise ValueError("run lengths must be a list of whole numbers.")
    if len(numbers) > 2 * MAX_PIXELS or numbers.min(initial=0) < 0 or numbers.max(initial=0) > MAX_PIXELS:
        raise ValueError(f"run lengths must be 0 to {MAX_PIXELS:,}.")
    if (total := int(numbers.sum(dtype=np.int64))) != height * width:
        raise ValueError(f"run lengths give {total} pixels in all; {height} × {width} are {height * width}.")
    return numbers.astype(np.uint32)


def string_to_runs(text: str | bytes, size: tuple[int, int]) -> Runs:
    """The run lengths (uint32) of a compressed string. Raises `ValueError` for a damaged one.

    >>> string_to_runs("5221", (3, 4)).tolist()
    [5, 2, 2, 3]
    """
    return checked_runs(decode_strings([text])[0], size)


def decode_strings(texts: Sequence[str | bytes]) -> list[NDArray[np.int64]]:
    """The numbers of each compressed string, int64, all strings in one go; sizes are not checked.

    Raises `ValueError` for a damaged one.
    """
    if not any(texts):
        return [np.zeros(0, np.int64) for _ in texts]
    encoded = [text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text for text in texts]
    codes = np.frombuffer(b"".join(encoded), np.uint8).astype(np.int64) - 48
    ends = np.cumsum([len(text) for text in encoded])
    last = codes & 32 == 0
    if codes.min() < 0 or codes.max() > 63 or not last[ends[ends > 0] - 1].all():
        raise ValueError("compressed run lengths are damaged: they do not end, or hold a foreign character.")
    stops = np.flatnonzero(last)
    starts = np.concatenate([[0], stops[:-1] + 1])[: len(stops)]
    lengths = stops - starts + 1
    if lengths.max() > _MAX_CHARACTERS:
        raise ValueError("compressed run lengths are damaged: a number has too many characters.")
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    numbers = np.add.reduceat((codes & 31) << shifts, starts)
    numbers -= (codes[stops] >> 4 & 1) << (5 * lengths)
    bounds = np.searchsorted(stops, ends).tolist()
    return [_undo_differences(numbers[a:b]) for a, b in zip([0, *bounds[:-1]], bounds, strict=True)]


def runs_to_string(runs: ArrayLike) -> str:
    """The compressed string of run lengths.

    >>> runs_to_string([5, 2, 2, 3])
    '5221'
    """
    numbers = np.asarray(runs, np.int64)
    written = numbers.copy()
    written[3:] -= numbers[1:-2]
    rest = (written >> 4) ^ (written >> 63)
    lengths = np.ones(len(written), np.int64)
    while rest.any():
        lengths += rest > 0
        rest >>= 5
    position = np.arange(lengths.max(initial=1))
    codes = (written[:, None] >> 5 * position & 31) + 48 + 32 * (position < lengths[:, None] - 1)
    text: bytes = codes.astype(np.uint8)[position < lengths[:, None]].tobytes()
    return text.decode("ascii")


def runs_to_mask(runs: ArrayLike, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask (height, width) bool. Raises `ValueError` as `checked_runs`."""
    numbers = checked_runs(runs, size)
    inside = np.arange(len(numbers)) % 2 == 1
    return np.repeat(inside, numbers).reshape(size[1], size[0]).T


def mask_to_runs(mask: ArrayLike) -> Runs:
    """The run lengths (uint32) of a mask (height, width).

    >>> mask_to_runs([[0, 1], [0, 1], [1, 0]]).tolist()
    [2, 3, 1]
    """
    flat = np.asarray(mask, np.bool_).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    begins = [0, 0] if len(flat) and flat[0] else [0]
    return np.diff(np.concatenate([begins, changes, [len(flat)]])).astype(np.uint32)


def run_crossings(runs: Runs, columns: NDArray[np.int64], height: int, *, first: int) -> Crossings:
    """Where run lengths change the sampled columns of a picture of `height` rows; there is one part, 0.

    columns: (sampled,) ascending source columns, none outside the picture · first: the position of the first of them
    """
    changes = np.cumsum(runs, dtype=np.int64)[:-1]
    tops = columns * height
    begin = np.searchsorted(changes, tops, side="right")
    end = np.searchsorted(changes, tops + height)
    num = end - begin
    column = np.repeat(np.arange(len(columns)), num)
    index = np.arange(len(column)) + np.repeat(begin - np.cumsum(num) + num, num)
    open_above, open_below = np.flatnonzero(begin & 1), np.flatnonzero(end & 1)
    row = [changes[index] - tops[column], np.zeros(len(open_above), np.int64), np.full(len(open_below), height)]
    all_columns = np.concatenate([column, open_above, open_below]) + first
    return Crossings(np.zeros(len(all_columns), np.int64), all_columns, np.concatenate(row))


def _undo_differences(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers, where from the fourth on the difference to the number two before was written."""
    runs = numbers.copy()
    runs[1::2] = np.cumsum(numbers[1::2])
    runs[2::2] = np.cumsum(numbers[2::2])
    return runs
