"""The same rows of zarr arrays in the same order, read by this library, by tensorstore and by zarr-python.

    pip install tensorstore
    python benchmarks/zarr_readers.py [--rows 20000] [--rounds 7] [--threads 2] [--layouts plain sharded …]

Two orders: chunk after chunk, and single rows at random over an array of which a tenth fits every reader's cache
(zarr-python has none). A batch is as many rows as a chunk. In a first round, which is not timed, every reader's
batches are compared; then all take turns, each beginning with an empty cache. Printed is the median of the rows per
second, and the median over the rounds of its ratio to this library in that round, so that a disturbance counts for
both. Files come from the page cache of the machine: decoding is compared, not the disk.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import zarr
from arrays import CHUNK_ROWS, LAYOUTS, SIDE, write_array

from pipelines import ArrayIterator, ArraySource

AHEAD = 4
"""Batches that a reader with futures has under way, as many as ours keeps ready."""


@dataclass(frozen=True)
class Order:
    """The rows of each batch, (batch,) int64: those of the first batches of an `ArrayIterator`, shuffled or not."""

    batches: list[np.ndarray]
    shuffle: bool


Reader = Callable[[Order], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Task:
    """What is read, and what a reader may use for it."""

    path: Path
    cache_bytes: int
    threads: int


def iterator(task: Task, *, shuffle: bool) -> ArrayIterator:
    settings = {"cache_bytes": task.cache_bytes, "threads": task.threads}
    return ArrayIterator(task.path, batch_size=CHUNK_ROWS, shuffle=shuffle, tail="drop", **settings)


def ours(task: Task) -> Reader:
    """`ArrayIterator`: batches are read ahead by threads."""

    def read(order: Order) -> Iterator[np.ndarray]:
        rows = iterator(task, shuffle=order.shuffle)
        for batch in islice(rows, len(order.batches)):
            yield batch.data
        rows.close()

    return read


def ours_called(task: Task) -> Reader:
    """`ArraySource.read`, called for one batch after the other in one thread."""

    def read(order: Order) -> Iterator[np.ndarray]:
        source = ArraySource(task.path, cache_bytes=task.cache_bytes)
        for rows in order.batches:
            examples = source.read(rows.tolist())
            yield np.stack([np.frombuffer(one.media, source.dtype).reshape(source.shape) for one in examples])
        source.close()

    return read


def by_tensorstore(task: Task, *, ahead: int = AHEAD) -> Reader:
    """tensorstore's zarr3 driver with `ahead` reads under way."""
    import tensorstore

    def read(order: Order) -> Iterator[np.ndarray]:
        spec = {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": str(task.path)},
            "recheck_cached_data": False,
            "context": {
                "cache_pool": {"total_bytes_limit": task.cache_bytes},
                "data_copy_concurrency": {"limit": task.threads},
                "file_io_concurrency": {"limit": task.threads},
            },
        }
        store = tensorstore.open(spec, open=True, read=True).result()
        waiting: deque[Any] = deque()
        for rows in order.batches:
            waiting.append(store[_selection(rows)].read())
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    return read


def by_zarr(task: Task) -> Reader:
    """zarr-python, one batch after the other; it decodes the chunks of one batch in threads of its own."""

    def read(order: Order) -> Iterator[np.ndarray]:
        array = zarr.open_array(task.path, mode="r")
        for rows in order.batches:
            chosen = _selection(rows)
            yield np.asarray(array[chosen] if isinstance(chosen, slice) else array.oindex[chosen])

    return read


READERS: dict[str, Callable[[Task], Reader]] = {
    "ours": ours,
    "ours, one call per batch": ours_called,
    f"tensorstore, {AHEAD} ahead": by_tensorstore,
    "tensorstore, one call per batch": lambda task: by_tensorstore(task, ahead=1),
    "zarr-python": by_zarr,
}


def _selection(rows: np.ndarray) -> slice | np.ndarray:
    """A slice for rows that follow each other, which every reader reads faster."""
    is_run = bool((np.diff(rows) == 1).all())
    return slice(int(rows[0]), int(rows[-1]) + 1) if is_run else rows


def main(argv: list[str] | None = None) -> int:
    """Measure, and print a table for each layout and order."""
    options = _parse(argv)
    readers = dict(READERS)
    try:
        import tensorstore  # noqa: F401 (whether it is there)
    except ImportError:
        print("tensorstore is left out; it is not installed: pip install tensorstore")
        readers = {name: make for name, make in readers.items() if "tensorstore" not in name}
    print(f"({options.rows}, {SIDE}, {SIDE}) in chunks of {CHUNK_ROWS} rows, {options.threads} threads, "
          f"{options.rounds} interleaved rounds, {os.cpu_count()} cores")  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        for layout in options.layouts:
            path = Path(scratch) / f"{layout}.zarr"
            stored = write_array(path, options.rows, LAYOUTS[layout])
            task = Task(path, zarr.open_array(path, mode="r").nbytes // 10, options.threads)
            for name, order in _orders(task, options.random_rows).items():
                speeds = measure({one: make(task) for one, make in readers.items()}, order, options.rounds)
                _print_table(f"{layout}, {name}: {stored}", speeds)
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Readers of zarr arrays, side by side.")
    parser.add_argument("--rows", type=int, default=20_000, help="rows of each array")
    parser.add_argument("--random-rows", type=int, default=1280, help="rows of a round at random")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds")
    parser.add_argument("--threads", type=int, default=2, help="threads of ours and of tensorstore")
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS), choices=list(LAYOUTS), help="which arrays")
    return parser.parse_args(argv)


def _orders(task: Task, random_rows: int) -> dict[str, Order]:
    """Whole batches alone."""

    def taken(num: int | None, *, shuffle: bool) -> Order:
        return Order([batch.indices for batch in islice(iterator(task, shuffle=shuffle), num)], shuffle)

    return {
        "chunk after chunk": taken(None, shuffle=False),
        "rows at random": taken(max(1, random_rows // CHUNK_ROWS), shuffle=True),
    }


def measure(readers: dict[str, Reader], order: Order, rounds: int) -> dict[str, list[float]]:
    """Rows per second of each reader in each round. Raises `AssertionError` where readers read other values."""
    digests = {name: _digest(read(order)) for name, read in readers.items()}
    assert len(set(digests.values())) == 1, f"the readers read other values: {digests}"
    speeds: dict[str, list[float]] = {name: [] for name in readers}
    for number in range(rounds):
        names = list(readers)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            begun = time.perf_counter()
            rows = sum(len(batch) for batch in readers[name](order))
            speeds[name].append(rows / (time.perf_counter() - begun))
    return speeds


def _digest(batches: Iterable[np.ndarray]) -> str:
    found = hashlib.sha256()
    for batch in batches:
        found.update(f"{batch.dtype}{batch.shape}".encode() + np.ascontiguousarray(batch).tobytes())
    return found.hexdigest()


def _print_table(title: str, speeds: dict[str, list[float]]) -> None:
    first = next(iter(speeds.values()))
    print(f"\n{title}\n{'reader':<34}{'rows/s':>9}{'from':>9}{'to':>9}{'ratio':>9}")
    for name, found in speeds.items():
        ratio = statistics.median(one / other for one, other in zip(found, first, strict=True))
        print(f"{name:<34}{statistics.median(found):>9.0f}{min(found):>9.0f}{max(found):>9.0f}{ratio:>8.2f}×")


if __name__ == "__main__":
    raise SystemExit(main())
