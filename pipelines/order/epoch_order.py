"""Which example stands at a position of an epoch: a pure function of (seed, epoch, position).

    position ──▶ (group, place within it) ──▶ keyed permutation of the group's stretch ──▶ example index

Up to 65,536 examples a permutation is drawn whole, by sorting raw Philox words; above, it is evaluated where it
is asked for, by a Feistel network on Z_a × Z_b (a·b just above n) of 24 rounds with cycle walking, in O(1) memory
(Black & Rogaway 2002, "Ciphers with arbitrary finite domains"). The order is a file format: `ORDER_VERSION` is
saved in every state, and `tests/pipelines/golden_orders_v1.json` holds it fast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .randomness import Purpose, derive_key, mix64, philox_words

__all__ = ["ORDER_VERSION", "EpochOrder", "Permutation", "Shuffle", "permutation"]

ORDER_VERSION = 1
DRAWN_WHOLE = 65_536
FEISTEL_ROUNDS = 24

Shuffle = bool | Literal["files"]
Indices = NDArray[np.int64]
Words = NDArray[np.uint64]


def permutation(num: int, key: int) -> Indices:
    """The whole permutation of range(num) under a 64-bit key: (num,) int64."""
    if num <= DRAWN_WHOLE:
        return np.argsort(philox_words(num, key), kind="stable")
    return Permutation(num, key)(np.arange(num))


class Permutation:
    """A keyed permutation of range(num): called with positions (n,) int64, it returns what stands there."""

    def __init__(self, num: int, key: int) -> None:
        self.num, self.key = num, key
        self._whole = permutation(num, key) if num <= DRAWN_WHOLE else None
        self._round_keys = philox_words(FEISTEL_ROUNDS, key) if self._whole is None else None

    def __call__(self, positions: Indices) -> Indices:
        if self._whole is not None:
            return self._whole[positions]
        assert self._round_keys is not None
        return feistel(positions, self.num, self._round_keys)


def feistel(positions: Indices, num: int, round_keys: Words) -> Indices:
    """A keyed bijection of range(num), evaluated at positions of any shape: int64 → int64.

    `round_keys` is (rounds, ...) and broadcasts against the positions. Values that fall outside range(num) walk
    on along their cycle until they fall inside; with a·b − num < 3·√num few ever do.
    """
    rows = math.isqrt(num - 1) + 1
    rows += rows % 2  # with both sides odd every round would be an even permutation: half of all orders
    columns = -(-num // rows)
    values = _feistel_pass(positions.astype(np.uint64), rows, columns, round_keys)
    outside = values >= num
    while outside.any():
        values = np.where(outside, _feistel_pass(values, rows, columns, round_keys), values)
        outside = values >= num
    return values.astype(np.int64)


def _feistel_pass(values: Words, rows: int, columns: int, round_keys: Words) -> Words:
    a, b = np.uint64(rows), np.uint64(columns)
    left, right = values // b, values % b
    for number, key in enumerate(round_keys):
        if number % 2 == 0:
            left = (left + mix64(right + key) % a) % a
        else:
            right = (right + mix64(left + key) % b) % b
    result: Words = left * b + right
    return result


class Stretch(Protocol):
    """The order within one group: places (n,) int64 in [0, size) → example indices."""

    def __call__(self, places: Indices) -> Indices: ...


@dataclass(frozen=True)
class Natural:
    """The order in which the examples are stored."""

    start: int

    def __call__(self, places: Indices) -> Indices:
        return self.start + places


@dataclass(frozen=True)
class Uniform:
    """Every example of the stretch, uniformly."""

    start: int
    inner: Permutation

    def __call__(self, places: Indices) -> Indices:
        return self.start + self.inner(places)


class Windowed:
    """Blocks (shards, or files of clips) in random order; uniform within each window of `window` blocks.

    With `inner=False` a block is played in its natural order: the shuffle of whole files.
    """

    def __init__(self, start: int, counts: Indices, key: int, *, window: int, inner: bool = True) -> None:
        self._key, self._inner = key, inner
        order = permutation(len(counts), derive_key(key, Purpose.SHARDS))
        self._block_start = (start + np.cumsum(counts) - counts)[order]
        self._stops = np.cumsum(counts[order])
        self._begins = self._stops - counts[order]
        lasts = np.minimum(np.arange(window, len(counts) + window, window), len(counts)) - 1
        self._window_stops = self._stops[lasts]
        self._window_permutation = lru_cache(maxsize=4)(self._make_window_permutation)

    def _make_window_permutation(self, number: int) -> Permutation:
        begin = int(self._window_stops[number - 1]) if number else 0
        return Permutation(int(self._window_stops[number]) - begin, derive_key(self._key, Purpose.WINDOW, number))

    def __call__(self, places: Indices) -> Indices:
        if self._inner:
            numbers = np.searchsorted(self._window_stops, places, side="right")
            moved = np.empty_like(places)
            for number in np.unique(numbers):
                begin = int(self._window_stops[number - 1]) if number else 0
                here = numbers == number
                moved[here] = begin + self._window_permutation(int(number))(places[here] - begin)
            places = moved
        blocks = np.searchsorted(self._stops, places, side="right")
        return self._block_start[blocks] + places - self._begins[blocks]


class EpochOrder:
    """The order of one epoch over `num` examples: called with positions (n,) int64, it returns example indices.

    shuffle         False: as stored. True: uniform over all examples, or over windows of `shuffle_shards` shards.
                    "files": blocks of `counts` in random order, each played in order.
    groups          the epoch is this many interleaved streams over disjoint stretches of the set; position p is
                    place p // groups of stream p % groups.
    counts          examples in each shard (or clips in each file), in storage order; needed for windows and files.
    """

    def __init__(
        self,
        num: int,
        *,
        seed: int,
        epoch: int,
        shuffle: Shuffle = True,
        groups: int = 1,
        shuffle_shards: int | None = None,
        counts: Indices | None = None,
    ) -> None:
        if (shuffle == "files" or shuffle_shards is not None) and shuffle and counts is None:
            raise ValueError("shuffle='files' and shuffle_shards need the counts of the files or shards.")
        self.num, self.groups = num, groups
        self._sizes = np.full(groups, num // groups) + (np.arange(groups) < num % groups)
        self._group_stops = np.cumsum(self._sizes)
        self._seed, self._epoch, self._shuffle = seed, epoch, shuffle
        self._shuffle_shards, self._counts = shuffle_shards, counts
        self._streams: dict[int, Stretch] = {}

    def __call__(self, positions: Indices) -> Indices:
        if self.groups == 1:
            return self._stream(0)(positions)
        indices, groups = np.empty_like(positions), positions % self.groups
        for group in np.unique(groups).tolist():  # a rank reads few of many groups, so only these are made
            here = groups == group
            indices[here] = self._stream(group)(positions[here] // self.groups)
        return indices

    def _stream(self, group: int) -> Stretch:
        if group not in self._streams:
            self._streams[group] = self._make_stream(group)
        return self._streams[group]

    def _make_stream(self, group: int) -> Stretch:
        stop = int(self._group_stops[group])
        start = stop - int(self._sizes[group])
        key = derive_key(self._seed, Purpose.ORDER, self._epoch, group)
        if not self._shuffle:
            return Natural(start)
        if self._counts is None or not (self._shuffle == "files" or self._shuffle_shards is not None):
            return Uniform(start, Permutation(stop - start, key))
        whole_files = self._shuffle == "files"
        window = 1 if whole_files else self._shuffle_shards or 1
        within = _counts_within(self._counts, start, stop)
        return Windowed(start, within, key, window=window, inner=not whole_files)


def _counts_within(counts: Indices, start: int, stop: int) -> Indices:
    """How many examples of each block lie in [start, stop), blocks without any left out."""
    stops = np.cumsum(counts)
    within = np.minimum(stops, stop) - np.maximum(stops - counts, start)
    inside: Indices = within[within > 0]
    return inside
