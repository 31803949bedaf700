"""The annotations of a whole batch, placed in its output pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .mask_placing import place_all_masks
from .masks import Masks
from .packed import Packed
from .placing import place_all_boxes, place_all_keypoints

__all__ = ["place"]

PLACED = ("boxes", "keypoints", "masks")
AnyBatch = TypeVar("AnyBatch")


def place(batch: AnyBatch, *, pairs: Sequence[tuple[int, int]] = ()) -> AnyBatch:
    """The batch with its fields "boxes", "keypoints" and "masks" in pixels of its pictures, and a new one, "visible".

    boxes      Packed float32 (objects, 4), clipped to the pictures
    visible    Packed float32 (objects,): the share of each box that is left; only with "boxes"
    keypoints  Packed float32 (objects, K, 3); `pairs` (left, right) change places in mirrored pictures
    masks      Packed bool (objects, height, width)

    No object is left out, so that "classes" and "crowd" still fit. Raises `ValueError` for a batch that has none of
    these fields, has no `transform`, was placed before, or was moved to a device before.
    """
    found: Any = batch
    fields = dict(found.fields)
    _check(found, fields)
    size = (int(found.data.shape[-2]), int(found.data.shape[-1]))
    matrices = np.asarray(found.transform, np.float64)
    if "boxes" in fields:
        given = fields["boxes"]
        boxes = place_all_boxes(given.values, _of_objects(matrices, given), size)
        fields["boxes"] = Packed(boxes.boxes, given.offsets)
        fields["visible"] = Packed(boxes.visible, given.offsets)
    if "keypoints" in fields:
        given = fields["keypoints"]
        points = place_all_keypoints(given.values, _of_objects(matrices, given), size, pairs=pairs).points
        fields["keypoints"] = Packed(points, given.offsets)
    if "masks" in fields:
        fields["masks"] = Packed(place_all_masks(fields["masks"], matrices, size), fields["masks"].offsets)
    placed_batch: AnyBatch = found.replace(fields=fields)
    return placed_batch


def _of_objects(matrices: NDArray[np.float64], objects: Packed) -> NDArray[np.float64]:
    """The matrix of the picture of each object: (objects, 2, 3)."""
    return np.repeat(matrices, np.diff(objects.offsets), axis=0)


def _check(batch: Any, fields: dict[str, Any]) -> None:
    if not fields.keys() & set(PLACED):
        raise ValueError(
            f"the batch has the fields {sorted(fields)}; ask its iterator for boxes, keypoints or masks: "
            'fields=("boxes", "masks").'
        )
    if "visible" in fields or not isinstance(fields.get("masks", Masks.of([])), Masks):
        raise ValueError("the annotations of this batch were placed before.")
    if any(not isinstance(fields[name].offsets, np.ndarray) for name in PLACED if name in fields):
        raise ValueError(
            "the annotations of this batch are tensors. Place the batch before moving it to a device: "
            "boxes.place(batch).to(device)."
        )
    if batch.transform is None:
        raise ValueError("the batch has no transform, so it is not known where its pictures come from.")
