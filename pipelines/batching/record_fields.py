"""Fields that come from the annotations of pictures: boxes, classes, crowd flags, keypoints, masks and captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from ..boxes import (
    Masks,
    Packed,
    pack_keypoints,
    read_segmentations,
    record_boxes,
    record_captions,
    record_classes,
    record_crowd,
    record_keypoints,
)

__all__ = ["RECORD_FIELDS", "RecordField"]


@dataclass(frozen=True)
class RecordField:
    """How a field is read from a record, and how the values of a batch are joined.

    read     record → value of one example
    join     values of the examples → value of the batch
    nothing  the value of an example without a record
    """

    read: Callable[[Any], Any]
    join: Callable[[Sequence[Any]], Any]
    nothing: Any

    def gather(self, values: Sequence[Any]) -> Any:
        """The value of a batch from those of its examples; None for an example without a record."""
        return self.join([self.nothing if value is None else value for value in values])


RECORD_FIELDS: Mapping[str, RecordField] = MappingProxyType(
    {
        "boxes": RecordField(record_boxes, Packed.of, np.zeros((0, 4), np.float32)),
        "classes": RecordField(record_classes, Packed.of, np.zeros(0, np.int64)),
        "crowd": RecordField(record_crowd, Packed.of, np.zeros(0, np.bool_)),
        "keypoints": RecordField(record_keypoints, pack_keypoints, np.zeros((0, 0, 3), np.float32)),
        "masks": RecordField(read_segmentations, Masks.joined, read_segmentations(None)),
        "captions": RecordField(record_captions, list, []),
    }
)
"""Name, as in the setting `fields` of an iterator → how it is read."""
