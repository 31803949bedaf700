"""Frames that carry their number in black and white blocks, which survives compression and scaling."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

GRID = 4  # blocks across and down
CORNERS = {(0, 0): 1, (0, 3): 0, (3, 0): 0, (3, 3): 0}  # (row, column) → white or black: no turn looks like another
DATA = [place for place in itertools.product(range(GRID), repeat=2) if place not in CORNERS]
NUM_NUMBERS = 1 << (len(DATA) - 1)
GRID_SHARE = 0.6  # of the frame's height and width, in its middle
BLACK, WHITE = 20, 235


def frame_pixels(number: int, size: tuple[int, int] = (96, 64)) -> Pixels:
    """(height, width, 3) uint8, `size` being (width, height): waves that move, and the number in 4 × 4 blocks.

    Three black corners and a white one, then from the top left on eleven bits of the number, the highest first, and
    their parity. Numbers lie in 0 to 2047.
    """
    if not 0 <= number < NUM_NUMBERS:
        raise ValueError(f"number is {number}; it must lie in 0 to {NUM_NUMBERS - 1}.")
    width, height = size
    y, x = (np.mgrid[0:height, 0:width] + 0.5) / np.array([height, width]).reshape(2, 1, 1)
    phases = (x + number / 16, y + number / 23, x + y + number / 31)
    pixels = (128 + 90 * np.sin(2 * np.pi * np.stack(phases, axis=-1))).astype(np.uint8)
    bits = [number >> shift & 1 for shift in reversed(range(len(DATA) - 1))]
    blocks = CORNERS | dict(zip(DATA, [*bits, sum(bits) % 2], strict=True))
    rows, columns = _edges(height), _edges(width)
    for (row, column), bit in blocks.items():
        pixels[rows[row] : rows[row + 1], columns[column] : columns[column + 1]] = WHITE if bit else BLACK
    return pixels


def frame_number(pixels: Pixels, *, shown: tuple[float, float] = (1.0, 1.0)) -> int:
    """The number in a frame (height, width, 3) that was compressed and scaled, to 32 pixels or more.

    `shown` are the parts of its width and height that a crop around its centre has left, 0.6 or more. Raises
    `ValueError` where no number can be read, as in a frame that is turned, flipped or mixed with another.
    """
    rows, columns = _edges(pixels.shape[0], shown[1]), _edges(pixels.shape[1], shown[0])
    means = np.empty((GRID, GRID))
    for row, column in itertools.product(range(GRID), repeat=2):
        means[row, column] = pixels[_inner(rows, row), _inner(columns, column)].mean()
    low, high = means.min(), means.max()
    is_clear = high - low > 60 and np.minimum(means - low, high - means).max() < 0.3 * (high - low)
    is_white = means > (low + high) / 2
    bits = [int(is_white[place]) for place in DATA]
    if not is_clear or sum(bits) % 2 or any(is_white[place] != bit for place, bit in CORNERS.items()):
        raise ValueError(f"no number can be read; the blocks are {means.round().astype(int).tolist()}.")
    return int("".join(map(str, bits[:-1])), 2)


def _edges(length: int, shown: float = 1.0) -> list[int]:
    """Where the blocks begin and end along a side."""
    return [round(length * (0.5 + (part / GRID - 0.5) * GRID_SHARE / shown)) for part in range(GRID + 1)]


def _inner(edges: list[int], place: int) -> slice:
    """The middle half of a block, away from what its neighbours lend it."""
    start, stop = edges[place : place + 2]
    margin = (stop - start) // 4
    return slice(start + margin, max(stop - margin, start + margin + 1))
