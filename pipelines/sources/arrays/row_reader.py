"""Rows of stored arrays, with as little decoding as the order in which they are asked for allows.

in order, by chunk        chunks are kept: each is decoded once, the next one ahead of time
at random, within cache   chunks are kept: each is decoded once
at random, beyond it      rows that are due soon are kept, of every chunk that is decoded for one of them
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .chunk_cache import ChunkCache
from .lookahead import Lookahead
from .stored_array import StoredArray

__all__ = ["RowReader"]


class RowReader:
    """Reads rows from many threads at once, keeping at most `cache_bytes` of what it decoded, or one chunk.

    `read_ahead` says that rows are read in the order in which they are stored; `due` which rows are read next,
    where that is known and the order is another; `example_bytes` how much is read together, of all arrays. Nothing
    is kept before the first read, after `close`, or pickled.
    """

    def __init__(self, cache_bytes: int, example_bytes: int) -> None:
        self.cache, self.example_bytes = ChunkCache(cache_bytes), example_bytes
        self.due = Lookahead()
        self.read_ahead = False

    def rows(self, array: StoredArray, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) in the array's layout, not to be written to. Raises `SourceError` with the reason."""
        if not array.cached:
            return array.read_rows(start, stop)
        if stop - start == 1 and self._is_beyond_cache(array):
            return self._due_row(array, start)
        parts = [
            self.cache.get((array.name, number), partial(array.read_chunk, number))[array.along(begin, end)]
            for number, begin, end in array.chunks_of(start, stop)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, array.axis)

    def prepare(self, array: StoredArray, spans: Iterable[tuple[int, int]]) -> None:
        """Load what these rows lie in and no other thread is loading, so that threads wait for each other last."""
        if not array.cached or self._is_beyond_cache(array):
            return
        numbers = {number for start, stop in spans for number, *_ in array.chunks_of(start, stop)}
        if self.read_ahead and (max(numbers) + 1) * array.chunk_rows < array.num_rows:
            numbers.add(max(numbers) + 1)
        if 2 * len(numbers) * array.chunk_bytes <= self.cache.capacity_bytes:
            for number in sorted(numbers):
                self.cache.warm((array.name, number), partial(array.read_chunk, number))

    def _is_beyond_cache(self, array: StoredArray) -> bool:
        return bool(self.due) and array.num_rows * array.row_bytes > self.cache.capacity_bytes

    def _due_row(self, array: StoredArray, row: int) -> NDArray[Any]:
        kept = self.cache.take((array.name, "row", row))
        if kept is not None:
            return kept
        number, place = divmod(row, array.chunk_rows)
        keep = partial(self._due_rows, array, number)
        chunk = self.cache.get((array.name, number), partial(array.read_chunk, number), keep)
        self.cache.take((array.name, "row", row))
        return chunk[array.along(place, place + 1)]

    def _due_rows(self, array: StoredArray, number: int, chunk: NDArray[Any]) -> dict[Hashable, NDArray[Any]]:
        """Copies of those rows of a chunk that are due so soon that the cache can hold all that is due before them."""
        first = number * array.chunk_rows
        most = self.cache.capacity_bytes // max(1, self.example_bytes)
        return {
            (array.name, "row", row): chunk[array.along(row - first, row - first + 1)].copy()
            for row in self.due.soon(first, first + array.chunk_rows, most)
        }

    def close(self) -> None:
        """Keep and expect nothing."""
        self.cache.clear()
        self.due.clear()
