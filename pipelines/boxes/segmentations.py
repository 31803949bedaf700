"""Reading and checking the segmentations of one record; `Masks` joins those of a batch."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .affine import IDENTITY
from .json_numbers import joined
from .records import annotations_of, read_values, transform_of
from .rounding import taken_back
from .run_lengths import MAX_PIXELS, checked_runs, decode_strings

__all__ = ["Segmentations", "read_segmentations"]


class Segmentations(NamedTuple):
    """The polygons and run lengths of the objects of one example, in pixels of the annotated picture.

    points (points, 2) float64 of all rings · ring_lengths: points of each ring · num_rings: rings of each object ·
    runs uint32 arrays · num_runs: run lengths of each object · size: height and width · transform (2, 3)
    """

    points: NDArray[np.float64]
    ring_lengths: list[int]
    num_rings: list[int]
    runs: list[NDArray[np.uint32]]
    num_runs: list[int]
    size: tuple[int, int]
    transform: NDArray[np.float64]


NOTHING = Segmentations(np.zeros((0, 2)), [], [], [], [], (0, 0), IDENTITY)


def read_segmentations(record: Any) -> Segmentations:
    """The segmentations of a parsed record; no objects for anything that is not a record.

    Raises `ValueError` with the annotation's id for a malformed one.
    """
    objects = annotations_of(record)
    if not objects:
        return NOTHING
    size = (record["image"]["height"], record["image"]["width"])
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(
            f"the annotated picture is {size[0]} × {size[1]} pixels; it may have {MAX_PIXELS:,} at most."
        )
    is_moved = record.get("stored") is not None
    read = partial(_read, size=size, transform=transform_of(record), is_moved=is_moved)
    return read_values(objects, "segmentation", read)


def _read(
    objects: list[dict[str, Any]], *, size: tuple[int, int], transform: NDArray[np.float64], is_moved: bool
) -> Segmentations:
    rings: list[list[float]] = []
    num_rings: list[int] = []
    coded: list[tuple[int, Any]] = []
    for one in objects:
        shape = one.get("segmentation")
        if type(shape) is list:
            rings += shape
            num_rings.append(len(shape))
            continue
        num_rings.append(0)
        if shape is not None:
            coded.append((len(num_rings) - 1, one.get("original_segmentation") if is_moved else shape))
    if not set(map(type, rings)) <= {list}:
        raise ValueError("it must be lists of numbers")
    lengths = [len(ring) >> 1 for ring in rings]
    if any(len(ring) & 1 for ring in rings):
        raise ValueError("each of its polygons must have as many x as y")
    points = joined(rings).reshape(-1, 2)
    if is_moved:
        points = taken_back(points, transform)
    runs, num_runs = _read_runs(coded, len(num_rings), size) if coded else ([], [0] * len(num_rings))
    return Segmentations(points, lengths, num_rings, runs, num_runs, size, transform)


def _read_runs(
    coded: list[tuple[int, Any]], num_objects: int, size: tuple[int, int]
) -> tuple[list[NDArray[np.uint32]], list[int]]:
    """The run lengths of the objects in `coded` (number, segmentation), and how many each of all objects has."""
    lengths = [0] * num_objects
    if not all(isinstance(shape, dict) and isinstance(shape.get("counts"), str | list) for _, shape in coded):
        raise ValueError(
            "it must be polygons, or an object with counts and size (in a picture that was moved, the one of the "
            "annotated picture must be there as original_segmentation)"
        )
    texts = iter(decode_strings([shape["counts"] for _, shape in coded if type(shape["counts"]) is str]))
    arrays = []
    for number, shape in coded:
        if shape.get("size") != [*size]:
            raise ValueError(f"its size is {shape.get('size')!r}; that of the annotated picture is {[*size]}")
        arrays.append(checked_runs(next(texts) if type(shape["counts"]) is str else shape["counts"], size))
        lengths[number] = len(arrays[-1])
    return arrays, lengths
