"""Ranges of shards are fetched before they are read, in the order of need: neighbouring examples by one request.

    expect(shards, rows) ──▶ stretches of rows ──▶ FetchPool ──▶ take(shard, row)

The sizes of examples are in the index of their shard, which is not opened before one of them is fetched: until then
all count with their average size.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

from ...errors import PipelineError
from .fetch_pool import FetchPool, FetchRequest

__all__ = ["MOST_AHEAD_BYTES", "MOST_REQUEST_BYTES", "RangesAhead"]

FIRST_REQUEST_BYTES = 256 << 10
MOST_REQUEST_BYTES = 4 << 20
"""Requests grow from one to the other, so that the first batch does not wait for what the later ones need."""
MOST_AHEAD_BYTES = 64 << 20
"""Most bytes of ranges that are kept in memory."""

ReadRows = Callable[[int, int, int], list[bytes | None]]
"""(shard, first row, row after the last) → the bytes of each; None for one that has to be read by itself."""


class Stretch:
    """Rows `first` up to `stop` of a shard, which are fetched together, and their bytes until they are taken."""

    def __init__(self, shard: int, first: int, most_rows: int) -> None:
        self.shard, self.first, self.stop, self.most_rows = shard, first, first + 1, most_rows
        self.lock = threading.Lock()
        self.contents: list[bytes | None] | None = None


class Contents(list[bytes | None]):
    """What a fetch brings."""

    def release(self) -> None:
        """Forget it."""
        self.clear()


class RangesAhead:
    """Fetches the examples that are expected; safe to use from many threads, of the process that made it.

    `row_bytes` are those of an example on average.
    """

    def __init__(self, read: ReadRows, *, row_bytes: float, read_ahead_bytes: int, threads: int) -> None:
        self._read, self._row_bytes = read, max(1.0, row_bytes)
        self._most_bytes = min(MOST_REQUEST_BYTES, read_ahead_bytes / 2)
        self._num_stretches = 0
        self._pool = FetchPool(self._fetch, self._size_of, read_ahead_bytes=read_ahead_bytes, threads=threads)
        self._lock, self._stretches = threading.Lock(), dict[tuple[int, int], Stretch]()
        self.process = os.getpid()

    @property
    def stall_seconds(self) -> float:
        """Seconds that all threads together waited."""
        return self._pool.stall_seconds

    def expect(self, shards: Sequence[int], rows: Sequence[int]) -> None:
        """Say which rows of which shards are taken next, after those that were announced before."""
        new: list[Stretch] = []
        open_ones: dict[int, Stretch] = {}
        with self._lock:
            for shard, row in zip(shards, rows, strict=True):
                if (shard, row) in self._stretches:
                    continue
                stretch = open_ones.get(shard)
                if stretch is not None and stretch.stop == row and row - stretch.first < stretch.most_rows:
                    stretch.stop += 1
                else:
                    stretch = open_ones[shard] = Stretch(shard, row, self._most_rows())
                    new.append(stretch)
                    self._num_stretches += 1
                self._stretches[shard, row] = stretch
        self._pool.expect(new)

    def take(self, shard: int, row: int) -> bytes | None:
        """The bytes of an example, once; None if it has to be read by itself. Waits for what is being fetched."""
        if self.process != os.getpid():  # forked: the lock may have been held
            return None
        with self._lock:
            stretch = self._stretches.pop((shard, row), None)
        if stretch is None:
            return None
        with stretch.lock:  # another thread may be waiting for its neighbour
            if stretch.contents is None:
                try:
                    stretch.contents = self._pool.get(stretch)
                except PipelineError:  # it is told which one of them cannot be read
                    stretch.contents = [None] * (stretch.stop - stretch.first)
            content, stretch.contents[row - stretch.first] = stretch.contents[row - stretch.first], None
        return content

    def clear(self) -> None:
        """Forget what was expected."""
        self._pool.expect(None)
        with self._lock:
            self._stretches.clear()
            self._num_stretches = 0

    def close(self) -> None:
        """Forget it, and end the threads."""
        self.clear()
        self._pool.close()

    def _most_rows(self) -> int:
        """Of the next stretch: each thread begins with a short one."""
        rounds = self._num_stretches // self._pool.threads
        return max(1, int(min(self._most_bytes, FIRST_REQUEST_BYTES << min(rounds, 8)) / self._row_bytes))

    def _size_of(self, stretch: Stretch) -> int:
        return int((stretch.stop - stretch.first) * self._row_bytes)

    def _fetch(self, stretch: Stretch, request: FetchRequest) -> Contents:
        return Contents(self._read(stretch.shard, stretch.first, stretch.stop))
