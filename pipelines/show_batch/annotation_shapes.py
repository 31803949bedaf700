"""Where the objects of a record lie on a picture that was cropped, resized or mirrored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..boxes import (
    Masks,
    place_boxes,
    place_keypoints,
    place_masks,
    record_boxes,
    record_classes,
    record_crowd,
    record_keypoints,
)

__all__ = ["Shapes", "shapes_of"]

Matrix = NDArray[np.floating[Any]]
Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Shapes:
    """The objects of one example, in pixels of the output.

    boxes      (N, 4) float32: left, top, right, bottom, clipped to the output
    visible    (N,) float32: the share of each box that is left
    classes    (N,) int64, -1 unknown
    names      of the categories, empty where unknown
    crowd      (N,) bool
    keypoints  (N, K, 3) float32: x, y, visibility
    masks      (N, height, width) bool; None if not asked for
    """

    boxes: NDArray[np.float32]
    visible: NDArray[np.float32]
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    crowd: NDArray[np.bool_]
    keypoints: NDArray[np.float32]
    masks: NDArray[np.bool_] | None


def shapes_of(record: Mapping[str, Any], matrix: Matrix, size: Size, *, with_masks: bool) -> Shapes:
    """The objects of a record, placed by `matrix` (2, 3), source → output, in an output of (height, width) `size`.

    Raises `ValueError` for a malformed record.
    """
    placed = place_boxes(record_boxes(record), matrix, size)
    corners = np.concatenate([placed.boxes[:, :2], placed.boxes[:, :2] + placed.boxes[:, 2:]], 1)
    return Shapes(
        corners,
        placed.visible,
        record_classes(record),
        tuple(str(one.get("category") or "") for one in record.get("annotations") or ()),
        record_crowd(record),
        place_keypoints(record_keypoints(record), matrix, size).points,
        place_masks(Masks.of([record]), matrix, size) if with_masks else None,
    )
