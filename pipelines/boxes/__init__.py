"""Geometry of annotations: records of annotated pictures, and their boxes, polygons, keypoints and masks in a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

if TYPE_CHECKING:
    from .affine import apply, compose, invert, orientation_matrix
    from .mask_placing import place_masks
    from .masks import Masks
    from .moving import move_record
    from .packed import Packed
    from .placed import PlacedBoxes, PlacedKeypoints, PlacedPolygons
    from .placed_batch import place
    from .placing import place_boxes, place_keypoints, place_polygons
    from .polygon_grid import polygon_mask
    from .records import (
        is_record,
        pack_keypoints,
        record_boxes,
        record_captions,
        record_classes,
        record_crowd,
        record_keypoints,
        transform_of,
    )
    from .run_lengths import mask_to_runs, runs_to_mask, runs_to_string, string_to_runs
    from .segmentations import read_segmentations

__all__ = [
    "Masks",
    "Packed",
    "PlacedBoxes",
    "PlacedKeypoints",
    "PlacedPolygons",
    "apply",
    "compose",
    "invert",
    "is_record",
    "mask_to_runs",
    "move_record",
    "orientation_matrix",
    "pack_keypoints",
    "place",
    "place_boxes",
    "place_keypoints",
    "place_masks",
    "place_polygons",
    "polygon_mask",
    "read_segmentations",
    "record_boxes",
    "record_captions",
    "record_classes",
    "record_crowd",
    "record_keypoints",
    "runs_to_mask",
    "runs_to_string",
    "string_to_runs",
    "transform_of",
]

lazy_names(
    __name__,
    {
        "Masks": ".masks",
        "Packed": ".packed",
        "PlacedBoxes": ".placed",
        "PlacedKeypoints": ".placed",
        "PlacedPolygons": ".placed",
        "apply": ".affine",
        "compose": ".affine",
        "invert": ".affine",
        "is_record": ".records",
        "mask_to_runs": ".run_lengths",
        "move_record": ".moving",
        "orientation_matrix": ".affine",
        "pack_keypoints": ".records",
        "place": ".placed_batch",
        "place_boxes": ".placing",
        "place_keypoints": ".placing",
        "place_masks": ".mask_placing",
        "place_polygons": ".placing",
        "polygon_mask": ".polygon_grid",
        "read_segmentations": ".segmentations",
        "record_boxes": ".records",
        "record_captions": ".records",
        "record_classes": ".records",
        "record_crowd": ".records",
        "record_keypoints": ".records",
        "runs_to_mask": ".run_lengths",
        "runs_to_string": ".run_lengths",
        "string_to_runs": ".run_lengths",
        "transform_of": ".records",
    },
)
