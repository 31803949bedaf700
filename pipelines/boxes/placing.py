"""Boxes, polygons and keypoints of a source picture, placed in an output picture.

Matrices are (2, 3), source → output pixels, as `batch.transform` gives them; their axes must stay axes (scale, shift,
mirror, quarter turns). Sizes are (height, width) of the output.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .affine import apply, as_matrix
from .placed import PlacedBoxes, PlacedKeypoints, PlacedPolygons

__all__ = ["place_all_boxes", "place_all_keypoints", "place_boxes", "place_keypoints", "place_polygons"]

Size = tuple[int, int]
Floats = NDArray[np.float64]


def place_boxes(boxes: ArrayLike, matrix: ArrayLike, size: Size) -> PlacedBoxes:
    """Boxes (objects, 4) of x, y, width, height, moved and clipped to the output.

    >>> half = [[0.5, 0, 0], [0, 0.5, 0]]
    >>> placed = place_boxes([[10, 10, 20, 20], [100, 0, 8, 8]], half, size=(10, 20))
    >>> placed.boxes.tolist(), placed.visible.tolist()
    ([[5.0, 5.0, 10.0, 5.0], [0.0, 0.0, 0.0, 0.0]], [0.5, 0.0])
    """
    given = np.asarray(boxes, np.float64).reshape(-1, 4)
    return place_all_boxes(given, as_matrix(matrix)[None], size)


def place_all_boxes(boxes: ArrayLike, matrices: Floats, size: Size) -> PlacedBoxes:
    """Boxes (objects, 4), each moved by its own matrix (objects, 2, 3), or all by one (1, 2, 3)."""
    x, y, width, height = np.asarray(boxes, np.float64).T
    placed, area, left = np.empty((4, len(x))), np.ones(len(x)), np.ones(len(x))
    for axis, limit in ((0, size[1]), (1, size[0])):
        along_x, along_y, shift = matrices[:, axis].T
        side = along_x * width + along_y * height
        low = along_x * x + along_y * y + shift + np.minimum(side, 0)
        side = np.abs(side)
        begin = np.minimum(np.maximum(low, 0), limit)
        placed[axis], placed[axis + 2] = begin, np.minimum(np.maximum(low + side, 0), limit) - begin
        area *= side
        left *= placed[axis + 2]
    visible = np.divide(left, area, out=np.zeros(len(x)), where=area > 0)
    placed *= visible > 0
    return PlacedBoxes(placed.T.astype(np.float32, order="C"), np.minimum(visible, 1).astype(np.float32))


def place_polygons(rings: Sequence[ArrayLike], matrix: ArrayLike, size: Size) -> PlacedPolygons:
    """The rings of one object, moved and clipped to the output (Sutherland and Hodgman 1974).

    rings: each (points, 2), or flat x, y, x, y, ... as in COCO. If a ring is cut into several parts, they stay
    connected by edges along the border.

    >>> square = [[0, 0, 8, 0, 8, 8, 0, 8]]
    >>> placed = place_polygons(square, [[1, 0, -4], [0, 1, 0]], size=(8, 8))
    >>> placed.rings[0].tolist(), placed.visible
    ([[0.0, 0.0], [4.0, 0.0], [4.0, 8.0], [0.0, 8.0]], 0.5)
    """
    moved = [apply(matrix, np.asarray(ring, np.float64).reshape(-1, 2)) for ring in rings]
    clipped = [_clipped(ring, size) for ring in moved]
    before, after = sum(map(_area, moved)), sum(map(_area, clipped))
    kept = [ring for ring in clipped if len(ring) and _area(ring) > 0]
    return PlacedPolygons(kept, min(after / before, 1.0) if before > 0 else 0.0)


def place_keypoints(
    points: ArrayLike, matrix: ArrayLike, size: Size, *, pairs: Sequence[tuple[int, int]] = ()
) -> PlacedKeypoints:
    """Keypoints (objects, K, 3) of x, y, visibility, moved; those outside the output get zeros.

    pairs: numbers (left, right) of keypoints that change places where the matrix mirrors, such as left and right eye.
    Raises `ValueError` for a number that no keypoint has.

    >>> mirror = [[-1, 0, 10], [0, 1, 0]]
    >>> place_keypoints([[[2, 5, 2], [6, 5, 2]]], mirror, size=(10, 10), pairs=[(0, 1)]).points.tolist()
    [[[4.0, 5.0, 2.0], [8.0, 5.0, 2.0]]]
    """
    return place_all_keypoints(np.asarray(points, np.float64), as_matrix(matrix)[None], size, pairs=pairs)


def place_all_keypoints(
    points: ArrayLike, matrices: Floats, size: Size, *, pairs: Sequence[tuple[int, int]] = ()
) -> PlacedKeypoints:
    """Keypoints (objects, K, 3), each object moved by its own matrix (objects, 2, 3), or all by one (1, 2, 3)."""
    x, y, visibility = np.moveaxis(np.asarray(points, np.float64), -1, 0)
    a, b, c, d, e, f = matrices.reshape(-1, 6).T[:, :, None]
    x, y = a * x + b * y + c, d * x + e * y + f
    inside = (visibility > 0) & (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
    placed = np.stack([x, y, visibility], axis=-1)
    placed[~inside] = 0
    num_points = placed.shape[1]
    if num_points and pairs:
        mirrors = a * e - b * d < 0
        placed = np.where(mirrors[:, :, None], placed[:, _exchange(pairs, num_points)], placed)
    return PlacedKeypoints(placed.astype(np.float32), inside.sum(axis=1))


def _clipped(ring: Floats, size: Size) -> Floats:
    for axis, sign, limit in ((0, 1, 0), (0, -1, size[1]), (1, 1, 0), (1, -1, size[0])):
        if len(ring) == 0:
            break
        distance = sign * (ring[:, axis] - limit)
        if (distance >= 0).all():
            continue
        ring = _cut(ring, distance, axis, limit)
    return ring


def _cut(ring: Floats, distance: Floats, axis: int, limit: float) -> Floats:
    """What remains of a ring on the side of a border line where `distance` (points,) is not negative."""
    following, next_distance = np.roll(ring, -1, axis=0), np.roll(distance, -1)
    passes = (distance < 0) != (next_distance < 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = distance / (distance - next_distance)
    borders = ring + np.where(passes, share, 0)[:, None] * (following - ring)
    borders[:, axis] = limit
    both = np.stack([ring, borders], axis=1).reshape(-1, 2)
    kept: Floats = both[np.stack([distance >= 0, passes], axis=1).ravel()]
    return kept


def _area(ring: Floats) -> float:
    if len(ring) < 3:
        return 0.0
    x, y = (ring - ring[0]).T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def _exchange(pairs: Sequence[tuple[int, int]], num_points: int) -> NDArray[np.int64]:
    order = np.arange(num_points)
    for left, right in pairs:
        if not (0 <= left < num_points and 0 <= right < num_points):
            raise ValueError(f"pairs has ({left}, {right}); there are {num_points} keypoints, counted from 0.")
        order[left], order[right] = right, left
    return order
