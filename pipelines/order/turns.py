"""Whose turn it is in a mixture: every block of 1,000 positions holds a fixed whole number from each source.

positions   0 …………………………………… 999 | 1000 ………………………… 1999 | …
source      b a a c a b a a a c … | a c a a b a b a a a … |        weights 7 : 2 : 1 → quotas 700, 200, 100
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .epoch_order import permutation
from .randomness import derive_key

__all__ = ["BLOCK", "Turns", "quotas_of"]

BLOCK = 1000
KEPT_BLOCKS = 8

Indices = NDArray[np.int64]


class Turns:
    """Whose turn it is at a position, and how many turns it had before: pure arithmetic on the quotas.

    Called with positions (n,) from `origin` on, returns (streams, turns before), both (n,) int64.
    """

    def __init__(self, quotas: tuple[int, ...], key: int, origin: int) -> None:
        self.settings = (quotas, key, origin)
        self._quotas, self._key, self._origin = np.array(quotas, np.int64), key, origin
        self._cards = np.repeat(np.arange(len(quotas)), quotas)
        self._blocks: dict[int, tuple[Indices, Indices]] = {}

    def _block(self, number: int) -> tuple[Indices, Indices]:
        """Of one block: the stream at each place, and how many turns it had within the block before."""
        if number in self._blocks:
            return self._blocks[number]
        streams = self._cards[permutation(BLOCK, derive_key(self._key, self._origin, number))]
        before = np.empty(BLOCK, np.int64)
        for stream, quota in enumerate(self._quotas):
            before[streams == stream] = np.arange(quota)
        kept = list(self._blocks.items())[1 - KEPT_BLOCKS :]
        self._blocks = {**dict(kept), number: (streams, before)}
        return streams, before

    def __call__(self, positions: Indices) -> tuple[Indices, Indices]:
        blocks, places = np.divmod(positions - self._origin, BLOCK)
        streams, turns = np.empty_like(positions), np.empty_like(positions)
        for number in np.unique(blocks):
            here = blocks == number
            sequence, before = self._block(int(number))
            streams[here] = sequence[places[here]]
            turns[here] = number * self._quotas[streams[here]] + before[places[here]]
        return streams, turns

    def taken_before(self, position: int) -> Indices:
        """Turns each stream had in [origin, position): (streams,) int64."""
        block, place = divmod(position - self._origin, BLOCK)
        within = np.bincount(self._block(block)[0][:place], minlength=len(self._quotas))
        taken: Indices = block * self._quotas + within
        return taken


def quotas_of(weights: Sequence[float], num: int) -> tuple[int, ...]:
    """Whole numbers that sum to 1,000, as near to the weights as can be (largest remainders).

    Raises `ValueError` for a wrong number of weights, one that is not positive, or a share below 1 in 1,000,
    `TypeError` for what is not a sequence of numbers.
    """
    try:
        shares = np.asarray(weights, np.float64) if np.asarray(weights).dtype.kind in "iufO" else None
    except (TypeError, ValueError):
        shares = None
    if shares is None:
        raise TypeError(f"weights is {weights!r}; it must be a sequence of numbers, one for each iterator.")
    if shares.shape != (num,) or not np.isfinite(shares).all() or (shares <= 0).any():
        raise ValueError(f"weights are {list(weights)}; there must be {num}, one for each iterator, all above 0.")
    exact = shares / shares.sum() * BLOCK
    quotas = np.floor(exact).astype(int)
    order = np.argsort(quotas - exact, kind="stable")
    quotas[order[: BLOCK - quotas.sum()]] += 1
    if (quotas == 0).any():
        raise ValueError(f"weights are {list(weights)}; a share below 1 in {BLOCK} cannot be kept exactly.")
    return tuple(quotas.tolist())
