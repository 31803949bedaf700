"""Sources without files whose examples tell which source they are from, and what went through a loop."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import Batch, DataIterator, Example, MixedIterator, Source, mix

Row = tuple[str, int]
SIZES = {"a": 23, "b": 40, "c": 7}


class Lettered(Source):
    """Example i of source "b" has the key "b7" for i = 7; the media of `broken` ones is empty."""

    def __init__(self, letter: str, num: int, *, broken: Iterable[int] = (), shards: Sequence[int] = ()) -> None:
        self.letter, self.num, self.broken = letter, num, frozenset(broken)
        self.shards = tuple(shards) or (num,)
        self.name = f"letters {letter}"

    def __len__(self) -> int:
        return self.num

    @property
    def shard_counts(self) -> NDArray[np.int64]:
        return np.array(self.shards, np.int64)

    def prefix_hash(self, examples: int) -> str | None:
        return f"{ord(self.letter)}{examples:030x}" if examples in np.cumsum(self.shards) else None

    def read(self, indices: Sequence[int]) -> list[Example]:
        where = f"{self.letter}.tar"
        media = [b"" if i in self.broken else b"%d" % i for i in indices]
        return [
            Example(int(i), f"{self.letter}{i}", content, where, 512 * int(i))
            for i, content in zip(indices, media, strict=True)
        ]


def spell(example: Example, rng: np.random.Generator) -> NDArray[np.int64]:
    """(3,) int64: the source's letter, the number, and a random one of its place."""
    if not example.media:
        raise example.error("nothing in it")
    return np.array([ord(example.key[0]), int(example.media), rng.integers(1 << 40)])


def spell_slowly(example: Example, rng: np.random.Generator) -> NDArray[np.int64]:
    """`spell`, in two milliseconds."""
    time.sleep(0.002)
    return spell(example, rng)


def letters(letter: str = "a", num: int = 23, **settings: Any) -> DataIterator:
    """A shuffled iterator over `Lettered`; what is not given has small defaults."""
    of_source = {name: settings.pop(name) for name in ("broken", "shards") if name in settings}
    decode = settings.pop("decode", spell)
    defaults = {"batch_size": 4, "shuffle": True, "threads": 2}
    return DataIterator(Lettered(letter, num, **of_source), decode, **{**defaults, **settings})


def three(weights: Sequence[float] | None = (7, 2, 1), *, seeds: int = 0, **settings: Any) -> MixedIterator:
    """Sources a, b and c of 23, 40 and 7 examples, each with a seed and a shuffle of its own."""
    sources = [letters(letter, num, seed=seeds + place) for place, (letter, num) in enumerate(SIZES.items())]
    return mix(sources, weights, **{"batch_size": 4, "threads": 2, **settings})


def rows(batches: Iterable[Batch]) -> list[Row]:
    """The key and the random number of every example, padding left out, in order."""
    return [
        (key, int(row[2]))
        for batch in batches
        for slot, (key, row) in enumerate(zip(batch.keys, batch.data, strict=True))
        if batch.mask is None or bool(batch.mask[slot])
    ]


def epochs_of(iterator: Any, num: int) -> list[list[Row]]:
    """What each of the next epochs brings."""
    return [rows(iterator) for _ in range(num)]


def two_sources(**settings: Any) -> MixedIterator:
    parts = [letters("a", 13, seed=1), letters("b", 8, seed=2)]
    return mix(parts, [2, 1], **{"batch_size": 4, "threads": 1, **settings})


def late(worker: int) -> None:
    """The second worker starts when the first has long begun."""
    time.sleep(0.4 * worker)
