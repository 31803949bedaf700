"""Which source pixel each output pixel shows, for maps whose axes stay axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .affine import as_matrix, invert

__all__ = ["Samples", "Sampling"]

Ints = NDArray[np.int64]

_TIE = 1e-4
"""Centres that fall this close (in pixels) before a border count as on it, and so to the next pixel: matrices are
float32, and where a picture is halved every centre falls on a border."""


@dataclass(frozen=True, eq=False)
class Sampling:
    """The source pixels that the centres of the output pixels fall into.

    rows, columns  ascending int64: the sampled source rows and columns, none outside the source
    source_size    (height, width) of the source
    begin          where the first sampled row and column lie in the flat output; it is `row_step` to the next row,
                   `column_step` to the next column
    """

    rows: Ints
    columns: Ints
    source_size: tuple[int, int]
    begin: int
    row_step: int
    column_step: int

    @classmethod
    def of(cls, matrix: ArrayLike, size: tuple[int, int], source_size: tuple[int, int]) -> Sampling:
        """matrix: (2, 3) source → output · sizes: (height, width).

        Raises `ValueError` for a matrix that tilts the axes or has no inverse.
        """
        (a, b, c), (d, e, f) = invert(as_matrix(matrix)).tolist()
        swapped = abs(b) + abs(d) > abs(a) + abs(e)
        tilt, scale = (abs(a) + abs(e), abs(b) + abs(d)) if swapped else (abs(b) + abs(d), abs(a) + abs(e))
        if tilt > 1e-6 * scale:
            raise ValueError(f"matrix is {matrix!r}; it must keep the axes: scale, shift, mirror, quarter turns.")
        height, width = size
        x_step, y_step = (b, d) if swapped else (a, e)
        columns, left = _sampled(x_step, c, height if swapped else width, source_size[1])
        rows, top = _sampled(y_step, f, width if swapped else height, source_size[0])
        to_row, to_column = (1, width) if swapped else (width, 1)
        return cls(
            rows,
            columns,
            source_size,
            top * to_row + left * to_column,
            to_row if y_step > 0 else -to_row,
            to_column if x_step > 0 else -to_column,
        )


@dataclass(frozen=True, eq=False)
class Samples:
    """The samplings of several pictures, one after another, to find all in one go.

    columns        (sampled columns,) source columns of all pictures
    places         (sampled columns,) where each begins in its flat output
    column_counts  how many sampled columns of all pictures come before each source column, 0 to the width, of each
    column_begins  (pictures,) where the counts of each picture begin
    row_counts     how many sampled rows of its picture come before each source row, 0 to the height, of each picture
    row_begins     (pictures,) where the counts of each picture begin
    row_steps      (pictures,) from one row to the next in the flat output
    most_rows      the most sampled rows of any picture
    sizes          (pictures, 2) height and width of the sources
    """

    columns: Ints
    places: Ints
    column_counts: Ints
    column_begins: Ints
    row_counts: Ints
    row_begins: Ints
    row_steps: Ints
    most_rows: int
    sizes: Ints

    @classmethod
    def of(cls, samplings: Sequence[Sampling]) -> Samples:
        """One or more."""
        columns = [one.columns for one in samplings]
        sizes = np.array([one.source_size for one in samplings], np.int64)
        column_counts = [_counts(one.columns, one.source_size[1]) for one in samplings]
        before = np.cumsum([0, *map(len, columns)])
        return cls(
            np.concatenate(columns),
            np.concatenate([one.begin + one.column_step * np.arange(len(one.columns)) for one in samplings]),
            np.concatenate([counts + first for counts, first in zip(column_counts, before.tolist(), strict=False)]),
            np.cumsum(sizes[:, 1] + 1) - sizes[:, 1] - 1,
            np.concatenate([_counts(one.rows, one.source_size[0]) for one in samplings]),
            np.cumsum(sizes[:, 0] + 1) - sizes[:, 0] - 1,
            np.array([one.row_step for one in samplings]),
            max(len(one.rows) for one in samplings),
            sizes,
        )


def _counts(places: Ints, num: int) -> Ints:
    """(num + 1,): how many of some places are before 0, 1, ... num."""
    counts: Ints = np.bincount(places + 1, minlength=num + 1).cumsum()
    return counts


def _sampled(step: float, start: float, num: int, limit: int) -> tuple[Ints, int]:
    """Source pixels of `num` centres along one axis, ascending, and the output pixel that shows the first of them."""
    centres = np.arange(0.5, num) * step
    centres += start + _TIE
    inside = ((centres >= 0) & (centres < limit)).nonzero()[0]
    if not len(inside):
        return inside, 0
    first, last = int(inside[0]), int(inside[-1])
    pixels = centres[first : last + 1].astype(np.int64)
    return (pixels, first) if step > 0 else (pixels[::-1], last)
