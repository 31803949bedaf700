"""Which pixels a polygon covers, as COCO's own programs decide it.

The rule: vertices are rounded to a grid five times finer than the pixels. Each edge is followed along its longer
direction, one fine step at a time. Where it passes from fine column 5x + 2 to 5x + 3 (the middle of pixel column x),
the column changes between outside and inside from row ceil((v + 0.5) / 5 - 0.5) on, v being the upper fine row of the
two points. An object is the union of its rings.

Here no edge is followed: the fine row of each passage is computed, and only for the columns that are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .crossings import Crossings, fill_crossings, join_crossings
from .sampling import Samples, Sampling

__all__ = ["polygon_crossings", "polygon_mask"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_FINER = 5
_MOST = 1 << 20
"""The largest number of crossings that are computed at once."""


def polygon_mask(
    rings: Sequence[ArrayLike],
    size: tuple[int, int],
    *,
    rows: ArrayLike | None = None,
    columns: ArrayLike | None = None,
) -> NDArray[np.bool_]:
    """The pixels that the union of some rings covers: (rows, columns) bool.

    rings    each (points, 2), or flat x, y, x, y, ... as in COCO
    size     (height, width) of the picture; pixels outside are cut off
    rows, columns  ascending whole numbers inside the picture, to get only those pixels; None: all

    >>> polygon_mask([[1, 1, 4, 1, 4, 3, 1, 3]], (4, 5)).astype(int).tolist()
    [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    """
    chosen_rows = np.arange(size[0]) if rows is None else np.asarray(rows, np.int64)
    chosen_columns = np.arange(size[1]) if columns is None else np.asarray(columns, np.int64)
    arrays = [np.asarray(ring, np.float64).reshape(-1, 2) for ring in rings]
    mask: NDArray[np.bool_] = np.zeros((1, len(chosen_rows), len(chosen_columns)), np.bool_)
    if arrays:
        samples = Samples.of([Sampling(chosen_rows, chosen_columns, size, 0, len(chosen_columns), 1)])
        offsets, of_first = np.cumsum([0, *map(len, arrays)]), np.zeros(len(arrays), np.int64)
        for crossings in polygon_crossings(np.concatenate(arrays), offsets, of_first, samples):
            fill_crossings(crossings, of_first, of_first, samples, mask)
    covered: NDArray[np.bool_] = mask[0]
    return covered


def polygon_crossings(points: Floats, ring_offsets: Ints, pictures: Ints, samples: Samples) -> Iterator[Crossings]:
    """Where rings change the sampled columns of their pictures; the parts are the rings.

    points: (points, 2) of all rings · ring_offsets: (rings + 1,) · pictures: (rings,) index in `samples`.
    All crossings of a ring come together. They come for many rings at once, or in pieces that are joined where one ring
    has many, so that a ring that runs to and fro takes time but not memory.
    """
    edges = _Edges.of(points, ring_offsets, pictures, samples)
    before = np.concatenate([[0], np.cumsum(edges.num)])
    before_rings, ring = before[ring_offsets], 0
    while ring < len(pictures):
        stop = max(ring + 1, int(np.searchsorted(before_rings, before_rings[ring] + _MOST, side="right")) - 1)
        first, last = int(ring_offsets[ring]), int(ring_offsets[stop])
        if before_rings[stop] - before_rings[ring] <= _MOST:
            yield edges.crossings(first, last)
        else:
            yield edges.joined_crossings(first, last, before, int(samples.sizes[pictures[ring], 0]))
        ring = stop


@dataclass(frozen=True, eq=False)
class _Edges:
    """The edges of all rings on the fine grid, and which of the sampled columns each passes: `num` from `first` on."""

    x: Ints
    y: Ints
    next_x: Ints
    next_y: Ints
    first: Ints
    num: Ints
    ring: Ints
    height: Ints
    columns: Ints

    @classmethod
    def of(cls, points: Floats, ring_offsets: Ints, pictures: Ints, samples: Samples) -> _Edges:
        x, y = (_FINER * points.T + 0.5).astype(np.int64)
        following = np.arange(1, len(points) + 1)
        lengths = ring_offsets[1:] - ring_offsets[:-1]
        filled = lengths > 0
        following[ring_offsets[1:][filled] - 1] = ring_offsets[:-1][filled]
        ring = np.arange(len(pictures)).repeat(lengths)
        picture = pictures[ring]
        height, width = samples.sizes[picture].T
        counts, begins = samples.column_counts, samples.column_begins[picture]
        passed = (x + 2) // _FINER
        passed = begins + np.minimum(np.maximum(passed, 0, out=passed), width, out=passed)
        here = counts[passed]
        there = here[following]
        first = np.minimum(here, there)
        return cls(x, y, x[following], y[following], first, np.abs(there - here), ring, height, samples.columns)

    def crossings(self, begin: int, end: int) -> Crossings:
        """Those of the edges from `begin` to before `end`."""
        first, num = self.first[begin:end], self.num[begin:end]
        edge = np.arange(begin, end).repeat(num)
        column = np.arange(len(edge)) + (first - num.cumsum() + num).repeat(num)
        fine_column = _FINER * self.columns[column] + 2
        row = _passed_row(self.x[edge], self.y[edge], self.next_x[edge], self.next_y[edge], fine_column)
        row = np.minimum(np.maximum((row + 2) // _FINER, 0), self.height[edge])
        return Crossings(self.ring[edge], column, row)

    def joined_crossings(self, begin: int, end: int, before: Ints, height: int) -> Crossings:
        """Those of the edges of one ring that has many; before: (edges + 1,) how many crossings come before each."""
        pieces = [self.crossings(begin, begin)]
        while begin < end:
            stop = max(begin + 1, min(end, int(np.searchsorted(before, before[begin] + _MOST, side="right")) - 1))
            pieces.append(self.crossings(begin, stop))
            pieces = [join_crossings(pieces, height)]
            begin = stop
        return pieces[0]


def _passed_row(x: Ints, y: Ints, next_x: Ints, next_y: Ints, fine_column: Ints) -> Ints:
    """The upper fine row where an edge passes from `fine_column` to the next, in the arithmetic of single steps."""
    flat = np.abs(next_x - x) >= np.abs(next_y - y)
    turned = np.where(flat, next_x < x, next_y < y)
    x, next_x = np.where(turned, next_x, x), np.where(turned, x, next_x)
    y, next_y = np.where(turned, next_y, y), np.where(turned, y, next_y)
    row = np.empty(len(x), np.int64)
    some = flat.nonzero()[0]
    row[some] = _row_of_flat(x[some], y[some], next_x[some], next_y[some], fine_column[some])
    some = (~flat).nonzero()[0]
    row[some] = _row_of_steep(x[some], y[some], next_x[some], next_y[some], fine_column[some])
    return row


def _row_of_flat(x: Ints, y: Ints, next_x: Ints, next_y: Ints, fine_column: Ints) -> Ints:
    """One step is one fine column, and x < next_x."""
    slope, step = (next_y - y) / (next_x - x), fine_column - x
    before, after = y + slope * step + 0.5, y + slope * (step + 1) + 0.5
    row: Ints = np.minimum(before, after).astype(np.int64)
    return row


def _row_of_steep(x: Ints, y: Ints, next_x: Ints, next_y: Ints, fine_column: Ints) -> Ints:
    """One step is one fine row, and y < next_y: the row before the first step that lies on the other side.

    The step is estimated by a division and then decided among its neighbours by the rounded arithmetic of that step.
    """
    slope, border = (next_x - x) / (next_y - y), fine_column + 1
    rises = slope > 0
    step = np.ceil((border - 0.5 - x) / slope).astype(np.int64) - 1
    for _ in range(2):
        reached = (x + slope * step + 0.5 >= border) == rises
        step += ~reached
    return y + step - 1
