"""Run lengths of a mask: whether the runs of an RLE, plain or compressed, fill its size exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...boxes.run_lengths import MAX_PIXELS

__all__ = ["fills_size", "mask_size"]

FIRST_CODE, LAST_CODE = 48, 111
MOST_CHARACTERS = 7


def mask_size(segmentation: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) in pixels of an RLE; None for anything but positive whole numbers of at most 2**28 pixels."""
    size = segmentation.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        return None
    height, width = size
    return (height, width) if height * width <= MAX_PIXELS else None


def fills_size(counts: Any, size: tuple[int, int]) -> bool:
    """Whether the counts of an RLE, a list or COCO's compressed text, are runs that sum to height × width."""
    pixels = size[0] * size[1]
    if isinstance(counts, list):
        return set(map(type, counts)) == {int} and min(counts) >= 0 and sum(counts) == pixels
    if not isinstance(counts, str):
        return False
    runs = _decompressed(counts)
    if runs is None or not len(runs):
        return False
    return bool(runs.min() >= 0 and runs.max() <= pixels and int(runs.sum()) == pixels)


def _decompressed(text: str) -> NDArray[np.int64] | None:
    """The runs of compressed counts: 5 bits a character, lowest first; from the fourth on, changes to the last but one.

    None for a text that is not of this form.
    """
    try:
        codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - FIRST_CODE
    except UnicodeEncodeError:
        return None
    if not len(codes) or codes.min() < 0 or codes.max() > LAST_CODE - FIRST_CODE or codes[-1] & 0x20:
        return None
    ends = np.flatnonzero((codes & 0x20) == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > MOST_CHARACTERS:
        return None
    places = np.arange(len(codes)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((codes & 0x1F) << (5 * places), starts)
    runs -= np.where(codes[ends] & 0x10, np.int64(1) << (5 * lengths), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
