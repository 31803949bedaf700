"""The annotations of a whole batch, placed in its output pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from .mask_placing import place_all_masks
from .masks import Masks
from .packed import Packed
from .placing import place_boxes, place_keypoints

__all__ = ["place"]

AnyBatch = TypeVar("AnyBatch")


def place(batch: AnyBatch, *, pairs: Sequence[tuple[int, int]] = ()) -> AnyBatch:
    """The batch with its fields "boxes", "keypoints" and "masks" in pixels of its pictures, and a new one, "visible".

    boxes      Packed float32 (objects, 4), clipped to the pictures
    visible    Packed float32 (objects,): the share of each box that is left; where there are boxes
    keypoints  Packed float32 (objects, K, 3); `pairs` (left, right) change places where a picture was mirrored
    masks      Packed bool (objects, height, width)

    No object is left out, so that "classes" and "crowd" still fit. Raises `ValueError` for a batch that has none of
    these fields, has no `transform`, or was placed before.
    """
    found: Any = batch
    fields = dict(found.fields)
    _check(found, fields)
    size = (int(found.data.shape[-2]), int(found.data.shape[-1]))
    matrices = np.asarray(found.transform, np.float64)
    if "boxes" in fields:
        boxes = [place_boxes(fields["boxes"][index], matrix, size) for index, matrix in enumerate(matrices)]
        offsets = fields["boxes"].offsets
        fields["boxes"] = Packed(np.concatenate([placed.boxes for placed in boxes]), offsets)
        fields["visible"] = Packed(np.concatenate([placed.visible for placed in boxes]), offsets)
    if "keypoints" in fields:
        points = [
            place_keypoints(fields["keypoints"][index], matrix, size, pairs=pairs).points
            for index, matrix in enumerate(matrices)
        ]
        fields["keypoints"] = Packed(np.concatenate(points), fields["keypoints"].offsets)
    if "masks" in fields:
        fields["masks"] = Packed(place_all_masks(fields["masks"], matrices, size), fields["masks"].offsets)
    placed_batch: AnyBatch = found.replace(fields=fields)
    return placed_batch


def _check(batch: Any, fields: dict[str, Any]) -> None:
    if not fields.keys() & {"boxes", "keypoints", "masks"}:
        raise ValueError(
            f"the batch has the fields {sorted(fields)}; ask its iterator for boxes, keypoints or masks: "
            'fields=("boxes", "masks").'
        )
    if "visible" in fields or not isinstance(fields.get("masks", Masks.of([])), Masks):
        raise ValueError("the annotations of this batch were placed before.")
    if batch.transform is None:
        raise ValueError("the batch has no transform, so it is not known where its pictures come from.")
