"""Geometry of annotations: records of annotated pictures, and their boxes, polygons, keypoints and masks in a batch."""

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
