"""Affine maps of pixel coordinates: matrices (2, 3) that take (x, y, 1) to (x, y).

Coordinates are continuous: x runs right, y runs down, and pixel i covers [i, i + 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["IDENTITY", "apply", "as_matrix", "compose", "determinant", "invert", "orientation_matrix"]

Matrix = NDArray[np.float64]

IDENTITY: Matrix = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""The map that changes nothing."""
IDENTITY.flags.writeable = False

_ORIENTATIONS = {
    1: ((1, 0), (0, 1)),
    2: ((-1, 0), (0, 1)),
    3: ((-1, 0), (0, -1)),
    4: ((1, 0), (0, -1)),
    5: ((0, 1), (1, 0)),
    6: ((0, -1), (1, 0)),
    7: ((0, -1), (-1, 0)),
    8: ((0, 1), (-1, 0)),
}
"""EXIF orientation → the directions in which upright x and y grow, in stored x and y."""


def as_matrix(matrix: ArrayLike) -> Matrix:
    """The matrix as (2, 3) float64. Raises `ValueError` for another shape, or a number that is not finite."""
    found = np.asarray(matrix, np.float64)
    if found.shape != (2, 3) or not np.isfinite(found).all():
        raise ValueError(f"matrix is {matrix!r}; it must be 2 rows of 3 finite numbers.")
    return found


def apply(matrix: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Points (..., 2) of x and y, moved: float64 (..., 2).

    >>> apply([[2, 0, 1], [0, 2, 0]], [[10, 20]]).tolist()
    [[21.0, 40.0]]
    """
    rows = as_matrix(matrix)
    return np.asarray(points, np.float64) @ rows[:, :2].T + rows[:, 2]


def compose(outer: ArrayLike, inner: ArrayLike) -> Matrix:
    """The matrix of `inner` followed by `outer`."""
    after, before = as_matrix(outer), as_matrix(inner)
    product: Matrix = after[:, :2] @ before
    product[:, 2] += after[:, 2]
    return product


def determinant(matrix: ArrayLike) -> float:
    """The factor by which areas grow; negative if the map mirrors."""
    (a, b, _), (d, e, _) = as_matrix(matrix).tolist()
    return float(a * e - b * d)


def invert(matrix: ArrayLike) -> Matrix:
    """The inverse matrix. Raises `ValueError` if there is none, because the determinant is 0."""
    (a, b, c), (d, e, f) = as_matrix(matrix).tolist()
    scale = a * e - b * d
    if scale == 0:
        raise ValueError(f"matrix is {matrix!r}; it maps all pixels onto a line and has no inverse.")
    return np.array(
        [
            [e / scale, -b / scale, (b * f - c * e) / scale],
            [-d / scale, a / scale, (c * d - a * f) / scale],
        ]
    )


def orientation_matrix(orientation: int, width: int, height: int) -> Matrix:
    """The matrix from stored to upright pixels of a picture of `width` × `height` stored pixels.

    orientation: the EXIF tag, 1 to 8. Raises `ValueError` for another.

    >>> orientation_matrix(6, width=640, height=480).tolist()  # a quarter turn clockwise
    [[0.0, -1.0, 480.0], [1.0, 0.0, 0.0]]
    """
    if orientation not in _ORIENTATIONS:
        raise ValueError(f"orientation is {orientation!r}; EXIF knows 1 to 8.")
    rows = [
        [along_x, along_y, width * (along_x < 0) + height * (along_y < 0)]
        for along_x, along_y in _ORIENTATIONS[orientation]
    ]
    return np.array(rows, np.float64)
