"""The two parts of a source: the examples that are held out, and the rest."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError
from ..modality import find_modality
from ..order.checked_numbers import real_number, whole_number
from ..order.epoch_order import DRAWN_WHOLE, Permutation
from ..order.randomness import Purpose, derive_key
from ..storage.index import Index
from .opening import SourceLike, open_source
from .records import Probe
from .source import Source
from .view import SourceView

__all__ = ["HeldOutPart", "hold_out"]


def hold_out(source: SourceLike, fraction: float, *, seed: int = 0) -> tuple[Source, Source]:
    """(the rest, the held-out part): of each shard of n examples, ⌈fraction · n⌉ are held out, at least one.

    A pure function of (seed, shard, n): shards that are appended later do not move an example from one part to the
    other. (Rows that are appended to an array fill up its last chunk; that chunk is divided again.) Raises
    `ValueError` for a fraction outside (0, 1), `TypeError` for what is not a number, `SourceError` where nothing
    would be left; warns where the examples are segments that recordings were cut into, since one recording may then
    be on both sides.
    """
    fraction = real_number("fraction", fraction)
    seed = whole_number("seed", seed, least=None)
    source = open_source(source)
    if source.cuts_recordings:
        media = find_modality(source.modality or "audio")
        warnings.warn(
            f"{source.name}: it holds segments, and segments of one {media.noun} may be on both sides of the split. "
            f"Pack the {media.plural} that are held out as a set of their own, or pack them whole.",
            stacklevel=2,
        )
    if not 0 < fraction < 1:
        raise ValueError(f"fraction is {fraction}; it must lie between 0 and 1.")
    rest = HeldOutPart(source, fraction, seed=seed, held_out=False)
    if not len(rest):
        raise SourceError(
            f"{source.name}: holding out {fraction:g} of {len(source)} examples leaves none. "
            "Add data, or hold out less."
        )
    return rest, HeldOutPart(source, fraction, seed=seed, held_out=True)


class HeldOutPart(SourceView):
    """One side of a held-out split; within a shard of up to 65,536 examples they keep their order."""

    def __init__(self, source: Source, fraction: float, *, seed: int, held_out: bool) -> None:
        super().__init__(source, f"{source.name} ({'held-out' if held_out else 'training'} part)")
        self.fraction, self.seed, self.held_out = fraction, seed, held_out
        self._whole = source.shard_counts
        exact = Fraction(fraction).limit_denominator(10**9)  # 0.07 · 100 is 7, not 7.000000000000001
        kept_back = -(-self._whole * exact.numerator // exact.denominator)
        self._kept_back = np.maximum(kept_back, self._whole > 0)
        self._counts = self._kept_back if held_out else self._whole - self._kept_back
        self._stops = np.cumsum(self._counts)
        self._source_stops = np.cumsum(self._whole)
        self._rows = lru_cache(maxsize=64)(self._rows_of)

    def __len__(self) -> int:
        return int(self._stops[-1]) if len(self._stops) else 0

    @property
    def shard_counts(self) -> NDArray[np.int64]:
        """Examples of this part in each shard: (shards,) int64."""
        counts: NDArray[np.int64] = self._counts
        return counts

    def prefix_hash(self, examples: int) -> str | None:
        """The hash of the shards this part is drawn from, and of how it is drawn."""
        shard = int(np.searchsorted(self._stops, examples, side="left"))
        if examples <= 0 or shard >= len(self._stops) or self._stops[shard] != examples:
            return None
        inner = self.source.prefix_hash(int(self._source_stops[shard]))
        if inner is None:
            return None
        text = f"{inner}\0{self.fraction!r}\0{self.seed}\0{self.held_out}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _rows_of(self, shard: int) -> NDArray[np.int64]:
        order = Permutation(int(self._whole[shard]), derive_key(self.seed, Purpose.HELD_OUT, shard))
        begin = 0 if self.held_out else int(self._kept_back[shard])
        return np.sort(order(np.arange(begin, begin + int(self._counts[shard]))))

    def parent_indices(self, indices: Sequence[int]) -> list[int]:
        """Where these examples stand in the whole source."""
        found = []
        for index in indices:
            shard = int(np.searchsorted(self._stops, index, side="right"))
            row = int(index - (self._stops[shard] - self._counts[shard]))
            start = int(self._source_stops[shard] - self._whole[shard])
            if self._whole[shard] <= DRAWN_WHOLE:
                row = int(self._rows(shard)[row])
            else:
                order = Permutation(int(self._whole[shard]), derive_key(self.seed, Purpose.HELD_OUT, shard))
                row = int(order(np.array([row + (0 if self.held_out else int(self._kept_back[shard]))]))[0])
            found.append(start + row)
        return found

    def records(self, shard: int, probe: Probe) -> Index:
        """Those of the whole shard that belong to this part."""
        start = int(self._stops[shard] - self._counts[shard])
        chosen = self.parent_indices(range(start, start + int(self._counts[shard])))
        begin = int(self._source_stops[shard] - self._whole[shard])
        return self.source.records(shard, probe)[np.array(chosen, np.int64) - begin]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_rows"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._rows = lru_cache(maxsize=64)(self._rows_of)

    def __repr__(self) -> str:
        part = "held out" if self.held_out else "rest"
        return f"{self.source!r} [{part} {self.fraction:g}, {len(self):,} examples]"
