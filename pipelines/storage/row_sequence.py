"""A sequence in columns whose rows become Python objects on access; iterating makes `BATCH` of them at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TypeVar, overload

__all__ = ["BATCH", "RowSequence", "batches"]

BATCH = 4096
"""Rows that are handled as Python objects at a time."""

T = TypeVar("T")


def batches(num: int) -> Iterator[tuple[int, int]]:
    """The half-open stretches of `BATCH` rows that make up range(num)."""
    for start in range(0, num, BATCH):
        yield start, min(start + BATCH, num)


class RowSequence(Sequence[T]):
    """The base of sequences kept in columns: a subclass has `__len__` and `_objects`."""

    @abstractmethod
    def _objects(self, rows: slice) -> list[T]:
        """The objects of some rows, in their order."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return self._objects(index)
        row = range(len(self))[index]
        return self._objects(slice(row, row + 1))[0]

    def __iter__(self) -> Iterator[T]:
        for start, stop in batches(len(self)):
            yield from self._objects(slice(start, stop))
