"""The segmentations of a batch as arrays: polygons and run lengths, not rasterised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate, chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .segmentations import Segmentations, read_segmentations

__all__ = ["Masks"]

Ints = NDArray[np.int64]
NO_RUNS = np.zeros(0, np.uint32)


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
    sizes         (examples, 2) int64: height and width of each annotated picture; zeros without a record
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
        """The masks of parsed records; anything that is not a record has no objects.

        Raises `ValueError` with the annotation's id for a malformed segmentation.
        """
        return cls.joined([read_segmentations(record) for record in records])

    @classmethod
    def joined(cls, parts: Sequence[Segmentations]) -> Masks:
        """The masks of some examples, from the segmentations of each."""
        nothing = np.zeros((0, 2))
        return cls(
            np.concatenate([nothing, *(part.points for part in parts)]),
            _offsets(chain.from_iterable(part.ring_lengths for part in parts)),
            _offsets(chain.from_iterable(part.num_rings for part in parts)),
            np.concatenate([NO_RUNS, *chain.from_iterable(part.runs for part in parts)]),
            _offsets(chain.from_iterable(part.num_runs for part in parts)),
            _offsets(len(part.num_rings) for part in parts),
            np.array([part.size for part in parts], np.int64).reshape(-1, 2),
            np.array([part.transform for part in parts], np.float64).reshape(-1, 2, 3),
        )

    def map(self, move: Callable[[NDArray[Any]], Any]) -> Masks:
        """The same with `move` applied to all arrays, such as a move to a device."""
        return Masks(*(move(getattr(self, field.name)) for field in fields(self)))

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
