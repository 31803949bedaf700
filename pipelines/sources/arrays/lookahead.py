"""Which rows are due soon, so that a chunk that is decoded for one of them serves all of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

__all__ = ["Lookahead"]


class Lookahead:
    """The examples that are going to be read, in their order. Pickled, it is empty."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[int, int] = {}
        self._planned = self._served = 0

    def expect(self, indices: Iterable[int]) -> None:
        """These examples are read next, behind those that are expected already."""
        with self._lock:
            for index in indices:
                self._due[index] = self._planned
                self._planned += 1

    def served(self, index: int) -> None:
        """This example has been read."""
        with self._lock:
            self._served += self._due.pop(index, None) is not None

    def soon(self, start: int, stop: int, most: int) -> list[int]:
        """Those in [start, stop) that are due among the next `most` examples, in no fixed order."""
        with self._lock:
            horizon, due = self._served + most, self._due
            if len(due) < stop - start:
                return [index for index, place in due.items() if start <= index < stop and place < horizon]
            return [index for index in range(start, stop) if due.get(index, horizon) < horizon]

    def clear(self) -> None:
        """Expect nothing."""
        with self._lock:
            self._due.clear()
            self._planned = self._served = 0

    def __bool__(self) -> bool:
        return bool(self._due)

    def __reduce__(self) -> tuple[type[Lookahead], tuple[Any, ...]]:
        return Lookahead, ()
