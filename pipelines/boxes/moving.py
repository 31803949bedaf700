"""Moving a record to a picture that is stored at another size or turned: its annotations in the new pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .affine import IDENTITY, Matrix, apply, as_matrix, compose, determinant, invert
from .json_numbers import joined
from .mask_placing import place_masks
from .masks import Masks
from .records import is_record, read_values, transform_of
from .rounding import moved_points, rounded, taken_back
from .run_lengths import mask_to_runs, runs_to_string

__all__ = ["move_record"]

_NOWHERE = IDENTITY.tolist()


def move_record(record: dict[str, Any], matrix: ArrayLike, size: tuple[int, int]) -> dict[str, Any]:
    """The record of a picture that `matrix` (2, 3) maps to a picture of `size` (height, width).

    Boxes, polygons, keypoints and areas are moved but not clipped. They are rounded to 1e-4 pixels, polygons of more
    than two decimals to 1e-8, so that `Masks.of` recovers the points of the annotated picture. Run lengths are
    resampled, and the original ones kept as `original_segmentation`. `stored` is added: the new height and width, and
    the transform from the annotated picture. The given record is not changed; if nothing moves, it is returned itself.

    Raises `ValueError` for anything but a record, and with the annotation's id for a value that cannot be moved.

    >>> record = {"image": {"width": 4, "height": 2}, "annotations": [{"id": 1, "bbox": [1, 0, 2, 1], "area": 2}]}
    >>> moved = move_record(record, [[2, 0, 0], [0, 2, 0]], (4, 8))
    >>> moved["annotations"], moved["stored"]["height"]
    ([{'id': 1, 'bbox': [2.0, 0.0, 4.0, 2.0], 'area': 8.0}], 4)
    """
    if not is_record(record):
        raise ValueError("the JSON is no record of an annotated picture: it has no image with width and height.")
    rows, image = as_matrix(matrix), record["image"]
    height, width = size
    before = transform_of(record)
    counted = record.get("stored") or image
    if rows.tolist() == _NOWHERE and (height, width) == (counted["height"], counted["width"]):
        return record
    whole = rows if before is IDENTITY else compose(rows, before)
    invert(whole)  # raises if there is no inverse
    moved = dict(record)
    if "annotations" in record:
        moved["annotations"] = _moved_annotations(record, _Move(rows, before, whole), size)
    moved["stored"] = {"height": height, "width": width, "transform": whole.tolist()}
    return moved


@dataclass(frozen=True, eq=False)
class _Move:
    """Moves the values that all annotations of a record have under one name: a list in, a list out.

    before  the matrix from annotated pixels to those of the record
    rows    the matrix from pixels of the record to those of the new picture
    whole   `before`, then `rows`
    """

    rows: Matrix
    before: Matrix
    whole: Matrix

    def boxes(self, boxes: list[list[float]]) -> list[list[float]]:
        if any(len(box) != 4 for box in boxes):
            raise ValueError("it must be four numbers: x, y, width, height")
        pairs = joined(boxes).reshape(-1, 2) @ self.rows[:, :2].T
        corners, sizes = pairs[::2], pairs[1::2]
        corners += np.minimum(sizes, 0) + self.rows[:, 2]
        np.abs(sizes, out=sizes)
        moved: list[list[float]] = rounded(pairs).reshape(-1, 4).tolist()
        return moved

    def areas(self, areas: list[float]) -> list[float]:
        moved: list[float] = rounded(joined([areas]) * abs(determinant(self.rows))).tolist()
        return moved

    def keypoints(self, keypoints: list[list[float]]) -> list[list[float]]:
        """Unlabelled points stay as they are."""
        if any(len(numbers) % 3 for numbers in keypoints):
            raise ValueError("it must be threes of numbers: x, y, visibility")
        points = joined(keypoints).reshape(-1, 3)
        moved = points.copy()
        moved[:, :2] = rounded(apply(self.rows, points[:, :2]))
        flat: list[float] = np.where(points[:, 2:] > 0, moved, points).ravel().tolist()
        flat[2::3] = list(chain.from_iterable(keypoints))[2::3]
        return _cut(flat, map(len, keypoints))

    def polygons(self, shapes: list[list[list[float]]]) -> list[list[list[float]]]:
        rings = list(chain.from_iterable(shapes))
        if not set(map(type, rings)) <= {list}:
            raise ValueError("it must be lists of numbers")
        if any(len(ring) & 1 for ring in rings):
            raise ValueError("each of its polygons must have as many x as y")
        points = joined(rings).reshape(-1, 2)
        if self.before is not IDENTITY:
            points = taken_back(points, self.before)
        moved = _cut(moved_points(points, self.whole).ravel().tolist(), map(len, rings))
        return _cut(moved, map(len, shapes))


def _cut(values: list[Any], lengths: Iterable[int]) -> list[list[Any]]:
    """Consecutive pieces of a list."""
    ends = [0]
    for length in lengths:
        ends.append(ends[-1] + length)
    return [values[begin:end] for begin, end in pairwise(ends)]


def _moved_annotations(record: dict[str, Any], move: _Move, size: tuple[int, int]) -> list[dict[str, Any]]:
    objects = [dict(one) for one in record["annotations"] or ()]
    _replace(objects, "bbox", move.boxes)
    _replace(objects, "keypoints", move.keypoints)
    _replace(objects, "area", move.areas)
    _replace(objects, "segmentation", move.polygons, only=list)
    for one in objects:
        shape = one.get("segmentation")
        if shape is not None and type(shape) is not list:
            kept = None if move.before is IDENTITY else one.get("original_segmentation")
            original = one["original_segmentation"] = kept if isinstance(kept, dict) else shape
            one["segmentation"] = _resampled({**one, "segmentation": original}, record, move.whole, size)
    return objects


def _replace(
    objects: list[dict[str, Any]], name: str, move: Callable[[list[Any]], list[Any]], only: type = object
) -> None:
    """Move the values that objects have under a name, in place; `only` those of this type.

    Raises `ValueError` with the id of the first that is wrong.
    """

    def having(some: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one for one in some if one.get(name) is not None and isinstance(one[name], only)]

    if not (chosen := having(objects)):
        return
    values = read_values(objects, name, lambda some: move([one[name] for one in having(some)]))
    for one, value in zip(chosen, values, strict=True):
        one[name] = value


def _resampled(
    annotation: dict[str, Any], record: dict[str, Any], whole: Matrix, size: tuple[int, int]
) -> dict[str, Any]:
    """The run lengths of an annotation, resampled to the stored size; compressed if they were before."""
    unmoved = {"image": record["image"], "annotations": [{**annotation, "bbox": None}]}
    runs = mask_to_runs(place_masks(Masks.of([unmoved]), whole, size)[0])
    is_text = isinstance(annotation["segmentation"]["counts"], str)
    return {"size": [*size], "counts": runs_to_string(runs) if is_text else runs.tolist()}
