"""The results of placing: annotations in pixels of an output picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PlacedBoxes", "PlacedKeypoints", "PlacedPolygons"]


@dataclass(frozen=True, eq=False)
class PlacedBoxes:
    """Boxes of an output picture.

    boxes    (objects, 4) float32: x, y, width, height in output pixels, clipped; zeros if nothing is left
    visible  (objects,) float32: the share of a box's area that is left, 0 to 1; 0 for a box without area
    """

    boxes: NDArray[np.float32]
    visible: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PlacedPolygons:
    """The rings of one object in an output picture.

    rings    each (points, 2) float64 in output pixels, clipped; rings that lie outside are left out
    visible  the share of the rings' areas that is left, 0 to 1; 0 for rings without area
    """

    rings: list[NDArray[np.float64]]
    visible: float


@dataclass(frozen=True, eq=False)
class PlacedKeypoints:
    """Keypoints of an output picture.

    points       (objects, K, 3) float32: x, y in output pixels, visibility; zeros where the point is outside or was not
                 labelled
    num_visible  (objects,) int64: how many points of visibility above 0 are left
    """

    points: NDArray[np.float32]
    num_visible: NDArray[np.int64]
