"""The precision of coordinates in a moved record, and how the annotated coordinates are recovered from them.

Moved coordinates are rounded to 1e-4 pixels: that is far below what can be seen, and makes the text of a record half as
long. COCO's polygons have two decimals, and are drawn on a grid of fifths of a pixel on whose borders many of their
points lie, so they must be recovered exactly. Two decimals can be recovered from the rounded numbers. If polygons have
more, eight are written and six recovered.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .affine import Matrix, apply, invert

__all__ = ["DECIMALS", "moved_points", "rounded", "taken_back"]

Floats = NDArray[np.float64]

DECIMALS = 4
"""The decimals of moved coordinates and areas."""
_MORE_DECIMALS = 8
_FEW, _SOME = 2, 6
"""The decimals of recovered coordinates: from those with DECIMALS, from those with _MORE_DECIMALS."""


def rounded(numbers: Floats, decimals: int = DECIMALS) -> Floats:
    """The numbers as they are written, without negative zeros."""
    return numbers.round(decimals) + 0.0


def moved_points(points: Floats, transform: Matrix) -> Floats:
    """Points (points, 2) of the annotated picture as they are written for the stored one.

    >>> moved_points(np.array([[1.5, 2.25]]), np.array([[1 / 3, 0, 0], [0, 1 / 3, 0]])).tolist()
    [[0.5, 0.75]]
    """
    is_short = _largest_error(transform) < 10**-_FEW / 2 and bool((points == points.round(_FEW)).all())
    return rounded(points @ transform[:, :2].T + transform[:, 2], DECIMALS if is_short else _MORE_DECIMALS)


def taken_back(points: Floats, transform: Matrix) -> Floats:
    """Points (points, 2) of the annotated picture from those that are written for the stored one.

    >>> third = np.array([[1 / 3, 0, 0], [0, 1 / 3, 0]])
    >>> taken_back(moved_points(np.array([[1.57, 2.29]]), third), third).tolist()
    [[1.57, 2.29]]
    """
    found, error = apply(invert(transform), points), _largest_error(transform)
    short = found.round(_FEW)
    if error < 10**-_FEW / 2 and bool((np.abs(found - short) <= error).all()):
        return short
    return found.round(_SOME)


def _largest_error(transform: Matrix) -> float:
    """The largest error of a recovered coordinate, in pixels of the annotated picture, after rounding to DECIMALS."""
    (a, b, _), (d, e, _) = transform.tolist()
    reach = max(abs(e) + abs(b), abs(d) + abs(a)) / abs(a * e - b * d)
    return float(reach * (10**-DECIMALS / 2) * 1.01 + 1e-9)
