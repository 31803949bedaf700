"""The record of an annotated picture: its objects and captions as arrays and lists.

A record is the JSON member of an example: `image` (with `height` and `width` in pixels), `annotations` as in COCO, and
for a picture that was moved when it was packed `stored`: `height`, `width` and `transform` of what is in the shard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .affine import IDENTITY, as_matrix, invert
from .json_numbers import joined
from .packed import Packed

__all__ = [
    "annotations_of",
    "is_record",
    "pack_keypoints",
    "read_values",
    "record_boxes",
    "record_captions",
    "record_classes",
    "record_crowd",
    "record_keypoints",
    "transform_of",
]

Values = TypeVar("Values")


def is_record(json: Any) -> bool:
    """Whether a parsed JSON member describes an annotated picture.

    It does if `image` is an object with `width` and `height`, and `annotations` is a list that is empty or has objects
    only, at least one of them with `bbox`. Without `annotations`, `captions` must be a list.

    >>> is_record({"image": {"width": 4, "height": 3}, "annotations": [{"bbox": [0, 0, 1, 1]}]})
    True
    """
    if not isinstance(json, dict) or not isinstance(image := json.get("image"), dict):
        return False
    height, width = image.get("height"), image.get("width")
    if type(height) is not int or type(width) is not int or height < 1 or width < 1:
        return False
    annotations = json.get("annotations")
    if annotations is None:
        return isinstance(json.get("captions"), list)
    if not isinstance(annotations, list) or not set(map(type, annotations)) <= {dict}:
        return False
    return not annotations or any("bbox" in annotation for annotation in annotations)


def annotations_of(record: Any) -> list[dict[str, Any]]:
    """The annotations of a record; an empty list for anything else."""
    found: list[dict[str, Any]] = (record.get("annotations") or []) if is_record(record) else []
    return found


def transform_of(record: Mapping[str, Any]) -> NDArray[np.float64]:
    """The map from pixels of the annotated picture to those of the stored one: (2, 3) float64.

    Raises `ValueError` for a `stored` that is malformed, or whose transform has no inverse.
    """
    stored = record.get("stored")
    if stored is None:
        return IDENTITY
    if not isinstance(stored, dict) or not all(type(stored.get(side)) is int for side in ("width", "height")):
        raise ValueError(f"the record's stored is {_cut(stored)}; it must have width, height and transform.")
    try:
        matrix = as_matrix(stored["transform"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"the record's transform is {_cut(stored.get('transform'))}; it must be 2 rows of 3."
        ) from error
    invert(matrix)
    return matrix


def record_boxes(record: Any) -> NDArray[np.float32]:
    """Boxes (objects, 4) float32: x, y, width, height in pixels of the stored upright picture.

    Raises `ValueError` with the annotation's id for a box that is not four finite numbers, or of negative width or
    height.
    """
    return read_values(annotations_of(record), "bbox", _boxes)


def record_classes(record: Any) -> NDArray[np.int64]:
    """Classes (objects,) int64: 0 to C - 1, or -1 if the category is unknown or missing.

    Raises `ValueError` with the annotation's id for a class that is not a whole number from -1 on.
    """
    classes = []
    for position, annotation in enumerate(annotations_of(record)):
        number = annotation.get("class", -1)
        if type(number) is not int or not -1 <= number < 1 << 31:
            raise _annotation_error(annotation, position, "class", "it must be a whole number from -1 on")
        classes.append(number)
    return np.array(classes, np.int64)


def record_crowd(record: Any) -> NDArray[np.bool_]:
    """Crowds (objects,) bool: True where one mask stands for many objects.

    An object without `iscrowd`, or with null, is not a crowd. Raises `ValueError` with the annotation's id for an
    `iscrowd` that is not 0, 1, true or false.
    """
    crowd = []
    for position, annotation in enumerate(annotations_of(record)):
        flag = annotation.get("iscrowd")
        flag = 0 if flag is None else flag
        if type(flag) not in (int, bool) or flag not in (0, 1):
            raise _annotation_error(annotation, position, "iscrowd", "it must be 0 or 1")
        crowd.append(flag)
    return np.array(crowd, np.bool_)


def record_keypoints(record: Any) -> NDArray[np.float32]:
    """Keypoints (objects, K, 3) float32: x, y, visibility (0 not labelled, 1 hidden, 2 seen).

    K is the largest number of any object; objects with fewer are filled up with zeros. Raises `ValueError` with the
    annotation's id for keypoints that are not threes of finite numbers.
    """
    return read_values(annotations_of(record), "keypoints", _keypoints)


def record_captions(record: Any) -> list[str]:
    """The captions. Raises `ValueError` with the caption's id for one that is not text."""
    captions = (record.get("captions") or []) if is_record(record) else []
    if not isinstance(captions, list):
        raise ValueError(f"captions are {type(captions).__name__}; they must be a list.")
    texts = []
    for position, caption in enumerate(captions):
        text = caption.get("caption") if isinstance(caption, dict) else None
        if not isinstance(text, str):
            number = caption.get("id") if isinstance(caption, dict) else None
            raise ValueError(f"caption {_named(number, position)} is {_cut(text)}; it must be text.")
        texts.append(text)
    return texts


def pack_keypoints(arrays: Sequence[NDArray[np.float32]]) -> Packed:
    """The keypoints (objects, K, 3) of the examples of a batch, packed; those with a smaller K get zeros."""
    most = max((array.shape[1] for array in arrays), default=0)
    filled = [np.pad(array, ((0, 0), (0, most - array.shape[1]), (0, 0))) for array in arrays]
    return Packed.of(filled or [np.zeros((0, 0, 3), np.float32)])


def read_values(
    annotations: list[dict[str, Any]], name: str, read: Callable[[list[dict[str, Any]]], Values]
) -> Values:
    """What `read` makes of the values that annotations have under a name, all of them at once.

    Where it raises `ValueError` or `TypeError`, raises `ValueError` with the id of the first annotation it refuses.
    """
    try:
        return read(annotations)
    except (ValueError, TypeError):
        for position, annotation in enumerate(annotations):
            try:
                read([annotation])
            except (ValueError, TypeError) as error:
                raise _annotation_error(annotation, position, name, str(error)) from error
        raise


def _annotation_error(annotation: dict[str, Any], position: int, name: str, expected: str) -> ValueError:
    """The error for a value that cannot be used; an annotation without an id is named by its `position`."""
    named, shown = _named(annotation.get("id"), position), _cut(annotation.get(name))
    return ValueError(f"annotation {named}: its {name} is {shown}; {expected.removesuffix('.')}.")


def _named(identity: Any, position: int) -> str:
    return f"number {position} (from 0)" if identity is None else _cut(identity)


def _cut(value: Any) -> str:
    """A value for a sentence, of 80 characters at most."""
    try:
        shown = repr(value)
    except RecursionError:
        shown = f"a {type(value).__name__}"
    return shown if len(shown) <= 80 else shown[:79] + "…"


def _boxes(annotations: list[dict[str, Any]]) -> NDArray[np.float32]:
    if not annotations:
        return np.zeros((0, 4), np.float32)
    lists = [annotation.get("bbox") for annotation in annotations]
    if not all(type(box) is list and len(box) == 4 for box in lists):
        raise ValueError("it must be four numbers: x, y, width, height")
    boxes = joined(lists).reshape(-1, 4)  # type: ignore[arg-type]
    if boxes[:, 2:].min() < 0:
        raise ValueError("its width and height must be 0 or more")
    return boxes.astype(np.float32)


def _keypoints(annotations: list[dict[str, Any]]) -> NDArray[np.float32]:
    lists = [annotation.get("keypoints") or [] for annotation in annotations]
    if not any(lists):
        return np.zeros((len(lists), 0, 3), np.float32)
    if not all(type(points) is list and len(points) % 3 == 0 for points in lists):
        raise ValueError("it must be threes of numbers: x, y, visibility")
    lengths = list(map(len, lists))
    most = max(lengths)
    keypoints = np.zeros((len(lists), most), np.float32)
    keypoints[np.arange(most) < np.array(lengths)[:, None]] = joined(lists)
    return keypoints.reshape(len(lists), -1, 3)
