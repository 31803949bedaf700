"""A record whose picture is stored in another size or turned: the same annotations, in pixels of the stored one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .affine import IDENTITY, Matrix, apply, as_matrix, compose, determinant
from .json_numbers import joined
from .masks import Masks
from .placing import move_boxes, place_masks
from .records import annotation_error, annotations_of, is_record, transform_of
from .run_lengths import mask_to_runs, runs_to_string

__all__ = ["move_record"]


def move_record(record: dict[str, Any], matrix: ArrayLike, size: tuple[int, int]) -> dict[str, Any]:
    """The record of the same picture after `matrix` (2, 3) took its pixels to a picture of `size` (height, width).

    Boxes, polygons, keypoints and areas are moved by exact arithmetic and not clipped. Run lengths are resampled, and
    the untouched ones kept as `original_segmentation`. `stored` is added: the new height, width and the transform from
    the annotated picture.
    The record given is not changed; it is the result where nothing moves.

    Raises `ValueError` for what is no record, and with the annotation's id for what cannot be moved.

    >>> record = {"image": {"width": 4, "height": 2}, "annotations": [{"id": 1, "bbox": [1, 0, 2, 1], "area": 2}]}
    >>> moved = move_record(record, [[2, 0, 0], [0, 2, 0]], (4, 8))
    >>> moved["annotations"], moved["stored"]["height"]
    ([{'id': 1, 'bbox': [2.0, 0.0, 4.0, 2.0], 'area': 8.0}], 4)
    """
    if not is_record(record):
        raise ValueError("the JSON is no record of an annotated picture: it has no image with width and height.")
    rows, image = as_matrix(matrix), record["image"]
    height, width = size
    before = record.get("stored", image)
    if (rows == IDENTITY).all() and (height, width) == (before["height"], before["width"]):
        return record
    whole = compose(rows, transform_of(record))
    moved = dict(record)
    if "annotations" in record:
        moved["annotations"] = [
            _moved(annotation, rows, record, whole, size) for annotation in annotations_of(record)
        ]
    moved["stored"] = {"height": height, "width": width, "transform": whole.tolist()}
    return moved


def _moved(
    annotation: dict[str, Any], rows: Matrix, record: dict[str, Any], whole: Matrix, size: tuple[int, int]
) -> dict[str, Any]:
    moved = dict(annotation)
    for name, move in _MOVERS.items():
        if annotation.get(name) is not None:
            try:
                moved[name] = move(annotation[name], rows)
            except (ValueError, TypeError) as error:
                raise annotation_error(annotation, name, str(error)) from error
    shape = annotation.get("segmentation")
    if shape is not None and not isinstance(shape, list):
        original = annotation.get("original_segmentation", shape)
        moved["original_segmentation"] = original
        moved["segmentation"] = _resampled({**annotation, "segmentation": original}, record, whole, size)
    return moved


def _moved_box(box: list[float], rows: Matrix) -> list[float]:
    low, high = move_boxes(joined([box]).reshape(1, 4), rows)
    return [*low[0].tolist(), *(high - low)[0].tolist()]


def _moved_segmentation(shape: Any, rows: Matrix) -> Any:
    """Polygons moved; run lengths as they are."""
    if not isinstance(shape, list):
        return shape
    return [apply(rows, joined([ring]).reshape(-1, 2)).ravel().tolist() for ring in shape]


def _moved_keypoints(numbers: list[float], rows: Matrix) -> list[float]:
    """Points that are not labelled stay as they are."""
    points = joined([numbers]).reshape(-1, 3)
    moved = np.where(points[:, 2:] > 0, apply(rows, points[:, :2]), points[:, :2])
    flat: list[float] = np.concatenate([moved, points[:, 2:]], axis=1).ravel().tolist()
    flat[2::3] = numbers[2::3]
    return flat


def _moved_area(area: float, rows: Matrix) -> float:
    return float(joined([[area]])[0]) * abs(determinant(rows))


_MOVERS: dict[str, Callable[[Any, Matrix], Any]] = {
    "bbox": _moved_box,
    "keypoints": _moved_keypoints,
    "area": _moved_area,
    "segmentation": _moved_segmentation,
}


def _resampled(
    annotation: dict[str, Any], record: dict[str, Any], whole: Matrix, size: tuple[int, int]
) -> dict[str, Any]:
    """The run lengths of an annotation of the annotated picture at the stored size, compressed where they were."""
    unmoved = {"image": record["image"], "annotations": [{**annotation, "bbox": None}]}
    runs = mask_to_runs(place_masks(Masks.of([unmoved]), whole, size)[0])
    is_text = isinstance(annotation["segmentation"]["counts"], str)
    return {"size": [*size], "counts": runs_to_string(runs) if is_text else runs.tolist()}
