"""The segmentations of a batch as arrays: polygons and run lengths, not rasterised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .affine import IDENTITY, apply, invert
from .json_numbers import joined
from .records import annotation_error, annotations_of, transform_of
from .run_lengths import MAX_PIXELS, checked_runs, decode_strings

__all__ = ["Masks"]

Ints = NDArray[np.int64]
_Pair = tuple[Any, list[dict[str, Any]]]
"""A record and its annotations."""
_Coded = tuple[int, Any, Any]
"""The number of an object, its run lengths, and the record's image."""


@dataclass(frozen=True, eq=False)
class Masks:
    """The masks of the objects of some examples, in pixels of the annotated pictures.

    An object is a union of polygons, or run lengths, or nothing. `len` is the number of examples, `masks[i]` are those
    of one, and `pipelines.boxes.place_masks` rasterises them.

    points        (points, 2) float64: x and y of all rings
    ring_offsets  (rings + 1,) int64: where the points of each ring begin
    object_rings  (objects + 1,) int64: where the rings of each object begin
    runs          (runs,) uint32: all run lengths
    object_runs   (objects + 1,) int64: where the run lengths of each object begin
    offsets       (examples + 1,) int64: where the objects of each example begin
    sizes         (examples, 2) int64: height and width of each annotated picture; zeros where there is no record
    transforms    (examples, 2, 3) float64: pixels of the annotated picture → pixels of the stored upright picture

    >>> image = {"id": 1, "width": 4, "height": 3}
    >>> triangle = {"id": 5, "bbox": [0, 0, 4, 3], "segmentation": [[0, 0, 4, 0, 0, 3]]}
    >>> masks = Masks.of([{"image": image, "annotations": [triangle]}, None])
    >>> len(masks), masks.num_objects, masks[0].points.tolist()
    (2, 1, [[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])
    """

    points: NDArray[np.float64]
    ring_offsets: Ints
    object_rings: Ints
    runs: NDArray[np.uint32]
    object_runs: Ints
    offsets: Ints
    sizes: Ints
    transforms: NDArray[np.float64]

    @classmethod
    def of(cls, records: Sequence[Any]) -> Masks:
        """The masks of parsed records; what is no record has no objects.

        Raises `ValueError` with the annotation's id for a malformed segmentation.
        """
        pairs = [(record, annotations_of(record)) for record in records]
        sizes = np.array([_size(*pair) for pair in pairs], np.int64).reshape(-1, 2)
        transforms = np.array([_transform(*pair) for pair in pairs]).reshape(-1, 2, 3)
        try:
            arrays = _segmentation_arrays(pairs)
        except ValueError:
            _blame(pairs)
            raise
        masks = cls(*arrays, _offsets([len(objects) for _, objects in pairs]), sizes, transforms)
        return masks._with_points_taken_back() if any(objects and "stored" in r for r, objects in pairs) else masks

    def map(self, move: Callable[[NDArray[Any]], Any]) -> Masks:
        """The same with all arrays as `move` gives them: on another device, as tensors."""
        return Masks(*(move(getattr(self, field.name)) for field in fields(self)))

    @classmethod
    def concatenate(cls, parts: Sequence[Masks]) -> Masks:
        """The masks of the examples of one or more parts, one after another."""
        return cls(
            np.concatenate([part.points for part in parts]),
            _joined_offsets([part.ring_offsets for part in parts]),
            _joined_offsets([part.object_rings for part in parts]),
            np.concatenate([part.runs for part in parts]),
            _joined_offsets([part.object_runs for part in parts]),
            _joined_offsets([part.offsets for part in parts]),
            np.concatenate([part.sizes for part in parts]),
            np.concatenate([part.transforms for part in parts]),
        )

    def _with_points_taken_back(self) -> Masks:
        """With the points of pictures that were moved in pixels of the annotated picture, rounded to 1e-6."""
        points = self.points.copy()
        for index in np.flatnonzero((self.transforms != IDENTITY).any(axis=(1, 2))).tolist():
            first, last = self.ring_offsets[self.object_rings[self.offsets[index : index + 2]]].tolist()
            points[first:last] = apply(invert(self.transforms[index]), points[first:last]).round(6)
        return replace(self, points=points)

    @property
    def num_objects(self) -> int:
        """The objects of all examples."""
        return len(self.object_rings) - 1

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Masks:
        index = range(len(self))[index]
        objects = slice(int(self.offsets[index]), int(self.offsets[index + 1]) + 1)
        object_rings, object_runs = self.object_rings[objects], self.object_runs[objects]
        ring_offsets = self.ring_offsets[object_rings[0] : object_rings[-1] + 1]
        return Masks(
            self.points[ring_offsets[0] : ring_offsets[-1]],
            ring_offsets - ring_offsets[0],
            object_rings - object_rings[0],
            self.runs[object_runs[0] : object_runs[-1]],
            object_runs - object_runs[0],
            np.array([0, len(object_rings) - 1]),
            self.sizes[index : index + 1],
            self.transforms[index : index + 1],
        )

    def __repr__(self) -> str:
        num_coded = int(np.count_nonzero(np.diff(self.object_runs)))
        return (
            f"Masks({len(self)} examples, {self.num_objects} objects: {len(self.ring_offsets) - 1} rings of "
            f"{len(self.points)} points, {num_coded} run lengths)"
        )


def _offsets(lengths: Iterable[int]) -> Ints:
    return np.array([*accumulate(lengths, initial=0)], np.int64)


def _joined_offsets(offsets: list[Ints]) -> Ints:
    starts = accumulate((int(each[-1]) for each in offsets), initial=0)
    return np.concatenate([[0], *(each[1:] + start for each, start in zip(offsets, starts, strict=False))])


def _segmentation_arrays(
    pairs: Sequence[_Pair],
) -> tuple[NDArray[np.float64], Ints, Ints, NDArray[np.uint32], Ints]:
    """points, ring_offsets, object_rings, runs, object_runs of `Masks`, points as they are in the records."""
    rings: list[list[float]] = []
    num_rings: list[int] = []
    coded: list[_Coded] = []
    for record, objects in pairs:
        is_moved = "stored" in record if objects else False
        for annotation in objects:
            shape = annotation.get("segmentation")
            if type(shape) is list:
                rings += shape
                num_rings.append(len(shape))
                continue
            num_rings.append(0)
            if shape is not None:
                shape = annotation.get("original_segmentation") if is_moved else shape
                coded.append((len(num_rings) - 1, shape, record["image"]))
    points, ring_offsets = _ring_points(rings)
    runs, num_runs = _joined_runs(coded, len(num_rings))
    return points, ring_offsets, _offsets(num_rings), runs, _offsets(num_runs)


def _ring_points(rings: list[list[float]]) -> tuple[NDArray[np.float64], Ints]:
    if not set(map(type, rings)) <= {list}:
        raise ValueError("it must be lists of numbers")
    offsets = _offsets(map(len, rings))
    if (offsets & 1).any():
        raise ValueError("each of its polygons must have as many x as y")
    return joined(rings).reshape(-1, 2), offsets >> 1


def _joined_runs(coded: list[_Coded], num_objects: int) -> tuple[NDArray[np.uint32], list[int]]:
    """All run lengths, and how many each object has."""
    lengths = [0] * num_objects
    if not coded:
        return np.zeros(0, np.uint32), lengths
    if not all(isinstance(shape, dict) and isinstance(shape.get("counts"), str | list) for _, shape, _ in coded):
        raise ValueError(
            "it must be polygons, or an object with counts and size (in a picture that was moved, the one of the "
            "annotated picture must be there as original_segmentation)"
        )
    texts = iter(decode_strings([shape["counts"] for _, shape, _ in coded if type(shape["counts"]) is str]))
    arrays = []
    for number, shape, image in coded:
        size = (image["height"], image["width"])
        if shape.get("size") != [*size]:
            raise ValueError(f"its size is {shape.get('size')!r}; that of the annotated picture is {[*size]}")
        arrays.append(checked_runs(next(texts) if type(shape["counts"]) is str else shape["counts"], size))
        lengths[number] = len(arrays[-1])
    return np.concatenate(arrays), lengths


def _size(record: Any, objects: list[dict[str, Any]]) -> tuple[int, int]:
    if not objects:
        return 0, 0
    height, width = record["image"]["height"], record["image"]["width"]
    if height * width > MAX_PIXELS:
        raise ValueError(f"the annotated picture is {height} × {width} pixels; it may have {MAX_PIXELS:,} at most.")
    return height, width


def _transform(record: Any, objects: list[dict[str, Any]]) -> NDArray[np.float64]:
    return transform_of(record) if objects else IDENTITY


def _blame(pairs: Sequence[_Pair]) -> None:
    """Raise for the one annotation that cannot be read."""
    for record, objects in pairs:
        for annotation in objects:
            try:
                _segmentation_arrays([(record, [annotation])])
            except ValueError as error:
                raise annotation_error(annotation, "segmentation", str(error)) from error
