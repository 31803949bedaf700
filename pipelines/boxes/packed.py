"""Arrays of different lengths in one array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Packed"]


@dataclass(frozen=True, eq=False)
class Packed:
    """Arrays of different lengths in one: example i is `values[offsets[i] : offsets[i + 1]]`.

    values: (sum of lengths, ...) · offsets: (batch + 1,) int64

    >>> boxes = Packed.of([np.zeros((2, 4)), np.ones((1, 4))])
    >>> len(boxes), boxes.values.shape, boxes[1].tolist()
    (2, (3, 4), [[1.0, 1.0, 1.0, 1.0]])
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, arrays: Sequence[NDArray[Any]]) -> Packed:
        """One or more arrays (length, ...) that differ in length only. Raises `ValueError` if more differs."""
        offsets = np.zeros(len(arrays) + 1, np.int64)
        np.cumsum([len(array) for array in arrays], out=offsets[1:])
        return cls(np.concatenate(arrays), offsets)

    def map(self, move: Callable[[NDArray[Any]], Any]) -> Packed:
        """The same with `move` applied to both arrays, such as a move to a device."""
        return Packed(move(self.values), move(self.offsets))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[Any]:
        return self.values[self.offsets[index] : self.offsets[index + 1]]
