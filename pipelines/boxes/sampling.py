"""Which source pixel each output pixel shows, for maps whose axes stay axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .affine import as_matrix, invert

__all__ = ["Sampling"]

_TIE = 1e-4
"""Centres that fall this close (in pixels) before a border count as on it, and so to the next pixel: matrices are
float32, and where a picture is halved every centre falls on a border."""


@dataclass(frozen=True, eq=False)
class Sampling:
    """The source pixels that the centres of the output pixels fall into.

    rows, columns  ascending int64: the sampled source rows and columns, none outside the source
    size           (height, width) of the output
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    size: tuple[int, int]
    _swapped: bool
    _row_slice: slice
    _column_slice: slice

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
        columns, column_slice = _sampled(x_step, c, height if swapped else width, source_size[1])
        rows, row_slice = _sampled(y_step, f, width if swapped else height, source_size[0])
        return cls(rows, columns, size, swapped, row_slice, column_slice)

    def view(self, output: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A view (masks, sampled rows, sampled columns) of an output (masks, height, width), in the source's order."""
        upright = output.transpose(0, 2, 1) if self._swapped else output
        return upright[:, self._row_slice, self._column_slice]


def _sampled(step: float, start: float, num: int, limit: int) -> tuple[NDArray[np.int64], slice]:
    """Source pixels of `num` centres along one axis, ascending, and the slice of the output that they fill."""
    pixels = np.floor(np.clip((np.arange(num) + 0.5) * step + (start + _TIE), -1.0, limit)).astype(np.int64)
    inside = np.flatnonzero((pixels >= 0) & (pixels < limit))
    if not len(inside):
        return inside, slice(0, 0)
    first, last = int(inside[0]), int(inside[-1])
    if step > 0:
        return pixels[first : last + 1], slice(first, last + 1)
    return pixels[first : last + 1][::-1], slice(last, first - 1 if first else None, -1)
