"""The checks of `entry_checks` for many annotations at once; a batch that fails is checked one by one there."""

from __future__ import annotations

from itertools import chain, starmap
from math import hypot
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...boxes.json_numbers import LARGEST
from .entry_checks import fills_size, mask_size

__all__ = ["Covered", "are_captions", "covered_by"]

NUMBERS = {int, float}


def are_captions(entries: list[dict[str, Any]]) -> bool:
    """Whether all entries are captions with a text."""
    try:
        texts = [entry["caption"] for entry in entries]
    except KeyError:
        return False
    return set(map(type, texts)) == {str} and not any("bbox" in one or "category_id" in one for one in entries)


class Covered(NamedTuple):
    """(N, 4) boxes in pixels, and the (height, width) of run lengths with their places."""

    boxes: NDArray[np.float64]
    masks: list[tuple[int, tuple[int, int]]]


def covered_by(entries: list[dict[str, Any]], text: bytes | None) -> Covered | None:
    """The boxes and masks of objects; None if any of them needs a closer look. `text` is their JSON, if known."""
    try:
        boxes = [entry["bbox"] for entry in entries]
    except KeyError:
        return None
    if set(map(type, boxes)) != {list} or set(map(len, boxes)) != {4}:
        return None
    values = list(chain.from_iterable(boxes))
    if not set(map(type, values)) <= NUMBERS:
        return None
    found = np.array(values, np.float64).reshape(-1, 4)
    if not (found[:, 2:] >= 0).all() or not np.abs(found).max() <= LARGEST:
        return None
    if not _are_keypoints(entries) or not _are_crowds(entries):
        return None
    shapes = [entry.get("segmentation") for entry in entries]
    kinds = set(map(type, shapes))
    if not kinds <= {list, dict, type(None)}:
        return None
    masks = (
        [(place, shape) for place, shape in enumerate(shapes) if isinstance(shape, dict)] if dict in kinds else []
    )
    sized = [(place, shape, mask_size(shape)) for place, shape in masks]
    good = [(place, size) for place, shape, size in sized if size and fills_size(shape.get("counts"), size)]
    polygons = [shape for shape in shapes if shape and type(shape) is list]
    may_hold_booleans = text is None or b"true" in text or b"false" in text
    if len(good) < len(masks) or not _are_polygons(polygons, may_hold_booleans):
        return None
    return Covered(found, good)


def _are_polygons(shapes: list[list[Any]], may_hold_booleans: bool) -> bool:
    """Whether these are lists of rings of an even number of at least 6 coordinates, none of them very large.

    A list that has a Euclidean norm holds numbers or booleans, and none of them is larger than the norm. Computing it
    takes a third of the time of checking every type. If the norm is too large, the answer is no, and `entry_checks`
    looks at each ring.
    """
    rings = list(chain.from_iterable(shapes))
    if not set(map(type, rings)) <= {list}:
        return False
    lengths = set(map(len, rings))
    if lengths and (min(lengths) < 6 or any(length % 2 for length in lengths)):
        return False
    if may_hold_booleans and not set(map(type, chain.from_iterable(rings))) <= NUMBERS:
        return False
    try:
        return max(starmap(hypot, rings), default=0.0) <= LARGEST
    except (TypeError, OverflowError):
        return False


def _are_keypoints(entries: list[dict[str, Any]]) -> bool:
    """Whether all keypoints are lists of three numbers each, none of them very large, or None."""
    points = [entry["keypoints"] for entry in entries if entry.get("keypoints") is not None]
    if not set(map(type, points)) <= {list} or any(len(point) % 3 for point in points):
        return False
    values = list(chain.from_iterable(points))
    return set(map(type, values)) <= NUMBERS and max(map(abs, values), default=0) <= LARGEST


def _are_crowds(entries: list[dict[str, Any]]) -> bool:
    """Whether each `iscrowd` is the whole number 0 or 1, None or absent."""
    flags = [entry.get("iscrowd") for entry in entries]
    return set(map(type, flags)) <= {int, type(None)} and set(flags) <= {0, 1, None}
