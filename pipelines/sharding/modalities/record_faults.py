"""Faults in the JSON beside a picture that readers of shards would refuse, found while it is packed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...boxes import is_record, record_boxes, record_captions, record_classes, record_crowd, record_keypoints
from ...boxes.segmentations import read_segmentations
from ..findings import Remark

__all__ = ["record_faults"]

_KEPT = "that cannot be read; it is kept as it is, and a reader of {} will stop there"

READERS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    (f"a .json file beside a picture has a bbox {_KEPT.format('boxes')}", record_boxes),
    (f"a .json file beside a picture has a class {_KEPT.format('classes')}", record_classes),
    (f"a .json file beside a picture has an iscrowd {_KEPT.format('crowd')}", record_crowd),
    (f"a .json file beside a picture has keypoints {_KEPT.format('keypoints')}", record_keypoints),
    (f"a .json file beside a picture has a segmentation {_KEPT.format('masks')}", read_segmentations),
    (f"a .json file beside a picture has a caption {_KEPT.format('captions')}", record_captions),
)
NO_RECORD = (
    "a .json file beside a picture has annotations with boxes that are not read: it needs an image with width and "
    "height as whole numbers, and annotations that are all objects"
)


def record_faults(content: Any, name: str) -> tuple[Remark, ...]:
    """One remark for each kind of fault in a parsed JSON; none if it has nothing to do with annotations.

    `name` is the file's.
    """
    if not is_record(content):
        return (Remark(NO_RECORD, 1, name),) if _has_boxes(content) else ()
    found = []
    for what, read in READERS:
        try:
            read(content)
        except ValueError as error:
            found.append(Remark(what, 1, f"{name}: {str(error).removesuffix('.')}"))
    return tuple(found)


def _has_boxes(content: Any) -> bool:
    """Whether an object is meant to be a record: with a list of annotations, one of which has a box."""
    annotations = content.get("annotations") if isinstance(content, dict) else None
    return isinstance(annotations, list) and any(isinstance(one, dict) and "bbox" in one for one in annotations)
