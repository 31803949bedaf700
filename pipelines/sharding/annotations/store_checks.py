"""Checks that need all entries: annotations against their images, categories and masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .codes import NO_ID
from .problems import ProblemLog
from .store_merging import Bodies, equals_previous

__all__ = ["check_annotations", "check_categories", "count_repeated_annotations", "images_of"]

Rows = NDArray[np.int64]


def images_of(objects: NDArray[Any], images: NDArray[Any]) -> Rows:
    """The row of the image of each annotation, -1 for none; ids of images are unique within a source."""
    found = np.full(len(objects), -1, np.int64)
    for source in np.unique(images["source"]):
        rows, own = np.flatnonzero(objects["source"] == source), np.flatnonzero(images["source"] == source)
        own = own[np.argsort(images["id"][own])]
        ids, wanted = images["id"][own], objects["image"][rows]
        places = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
        found[rows] = np.where(ids[places] == wanted, own[places], -1)
    return found


def check_annotations(
    objects: NDArray[Any],
    images: NDArray[Any],
    image_rows: Rows,
    masks: Mapping[int, tuple[int, int]],
    bodies: Bodies,
    log: ProblemLog,
) -> None:
    """Count annotations without an image, boxes outside of theirs, and masks of another size, which become null.

    `masks` has the (height, width) of those that are run lengths, by the number of the annotation.
    """
    _count("unknown image", "image_id", np.flatnonzero(image_rows < 0), objects, bodies, log)
    of_image = np.maximum(image_rows, 0)
    has_image = image_rows >= 0
    if len(images):
        width, height = images["width"][of_image], images["height"][of_image]
        outside = (objects["least"] < -1) | (
            has_image & ((objects["right"] > width + 1) | (objects["bottom"] > height + 1))
        )
    else:
        outside = objects["least"] < -1
    _count("box outside", "bbox", np.flatnonzero(outside), objects, bodies, log)
    others = [row for row, size in masks.items() if image_rows[row] >= 0 and _differ(images[image_rows[row]], size)]
    _count("mask size", "segmentation", np.array(others, np.int64), objects, bodies, log)
    for row in others:
        bodies.replace(objects[row], bodies.parsed(objects[row]) | {"segmentation": None})


def count_repeated_annotations(objects: NDArray[Any], bodies: Bodies, log: ProblemLog) -> None:
    """Count annotations with the id of an earlier one in the same file."""
    rows, names = np.flatnonzero(objects["id"] != NO_ID), ("id", "is_caption", "source")
    order = rows[np.lexsort([objects[name][rows] for name in names])]
    earlier = order[:-1][equals_previous(objects, order, names)[1:]]
    if len(earlier):
        log.add("duplicate annotation id", bodies.place(objects[earlier.min()], "image_id"), count=len(earlier))


def check_categories(objects: NDArray[Any], is_known: NDArray[np.bool_], bodies: Bodies, log: ProblemLog) -> int:
    """Count annotations whose category is unknown; returns how many have no category at all."""
    has_none = objects["category"] == NO_ID
    unknown = np.flatnonzero(~objects["is_caption"] & ~is_known & ~has_none)
    _count("unknown category", "category_id", unknown, objects, bodies, log)
    return int((~objects["is_caption"] & has_none).sum())


def _differ(image: Any, size: tuple[int, int]) -> bool:
    """Whether a mask has another (height, width) than its picture, as far as that is known."""
    sides = zip((float(image["height"]), float(image["width"])), size, strict=True)
    return any(side == side and side != of_mask for side, of_mask in sides)  # NaN is not equal to itself


def _count(kind: str, key: str, rows: Rows, objects: NDArray[Any], bodies: Bodies, log: ProblemLog) -> None:
    if len(rows):
        log.add(kind, lambda: bodies.place(objects[rows.min()], key), count=len(rows))
