"""Our own loaders, as `images.py` measures them, and the bare loop they are compared with.

A loader is a function of the set-up that returns `epoch`, which yields the number of pictures in each batch of one
shuffled pass.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines import ImageIterator, mix, open_source
from pipelines.decode import ImageDecoder
from pipelines.order.randomness import Place

Epoch = Callable[[], Iterator[int]]


@dataclass(frozen=True)
class Setup:
    """What every loader is asked to do."""

    folder: Path
    shards: Path
    size: int
    batch_size: int
    workers: int


def ours(setup: Setup) -> Epoch:
    """`ImageIterator` over shards, as it comes."""
    return _ours(setup, resizer="auto")


def ours_by_torch(setup: Setup) -> Epoch:
    """`ImageIterator` over shards, torch's resizer."""
    return _ours(setup, resizer="torch")


def ours_by_pillow(setup: Setup) -> Epoch:
    """`ImageIterator` over shards, Pillow's resizer: neither torch nor cykooz-resizer."""
    return _ours(setup, resizer="pillow")


def _ours(setup: Setup, *, resizer: str) -> Epoch:
    images = ImageIterator(
        setup.shards,
        size=setup.size,
        batch_size=setup.batch_size,
        shuffle=True,
        threads=setup.workers,
        resizer=resizer,  # type: ignore[arg-type]
    )
    return lambda: (len(batch) for batch in images)


def ours_mixed(setup: Setup) -> Epoch:
    """The same pictures as a mixture of two halves, each in four groups, with substitution armed."""
    num = len(open_source(setup.shards))
    halves = [
        ImageIterator(
            setup.shards,
            size=setup.size,
            shuffle=True,
            seed=half,
            groups=4,
            select=range(half, num, 2),
            on_error="substitute",
        )
        for half in range(2)
    ]
    images = mix(halves, batch_size=setup.batch_size, threads=setup.workers)
    return lambda: (len(batch) for batch in images)


def bare_loop(setup: Setup) -> Epoch:
    """As little as can be done: threads that read and decode in a fixed order, each into its slot of a batch."""
    source = open_source(setup.shards)
    decoder = ImageDecoder(size=setup.size)

    def decode(tasks: queue.SimpleQueue[tuple[np.ndarray, int, int] | None]) -> None:
        while (task := tasks.get()) is not None:
            data, slot, index = task
            decoder.decode_into(source.read([index])[0], data[slot], Place(0, 0, index))

    def epoch() -> Iterator[int]:
        tasks: queue.SimpleQueue[tuple[np.ndarray, int, int] | None] = queue.SimpleQueue()
        threads = [threading.Thread(target=decode, args=(tasks,)) for _ in range(setup.workers)]
        order = np.random.default_rng(0).permutation(len(source)).tolist()
        buffers = [decoder.allocate(setup.batch_size) for _ in range(2)]
        for place, index in enumerate(order):
            batch, slot = divmod(place, setup.batch_size)
            buffer = buffers[batch % 2]
            assert buffer is not None
            tasks.put((buffer, slot, index))
        for _ in threads:
            tasks.put(None)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        yield len(source)

    return epoch


OURS: dict[str, Callable[[Setup], Epoch]] = {
    "ours": ours,
    "ours, mixed and grouped": ours_mixed,
    "ours, torch's resizer": ours_by_torch,
    "ours, Pillow's resizer": ours_by_pillow,
    "bare loop, our decoder": bare_loop,
}
