"""Chosen examples of a source, in a chosen order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError
from ..storage.index import INDEX_DTYPE, Index
from .records import Probe
from .source import Source, joined_fingerprint
from .view import SourceView

__all__ = ["Selection"]


class Selection(SourceView):
    """The examples of a source at chosen indices, in that order; a `range` costs no memory.

    `indices` are whole numbers, or one Boolean per example of the source: those where it is True.

    Raises `IndexError` for an index outside the source, `SourceError` for an empty selection, `TypeError` for what
    holds anything else, and `ValueError` for Booleans of another number than the source has examples.
    """

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        super().__init__(source, f"{source.name} (selection)")
        self._indices = indices if isinstance(indices, range) else _checked_indices(source, indices)
        if not len(self._indices):
            raise SourceError(f"{source.name}: the selection is empty.")
        ends = (self._indices[0], self._indices[-1])  # of a range, the lowest and the highest
        within = ends if isinstance(self._indices, range) else (self._indices.min(), self._indices.max())
        lowest, highest = int(min(within)), int(max(within))
        if lowest < 0 or highest >= len(source):
            wrong = lowest if lowest < 0 else highest
            raise IndexError(f"{source.name}: example {wrong} of {len(source)}.")

    def __len__(self) -> int:
        return len(self._indices)

    def prefix_hash(self, examples: int) -> str | None:
        """The hash of the whole source and the chosen indices."""
        if examples != len(self):
            return None
        chosen = self._indices
        text = repr(chosen).encode() if isinstance(chosen, range) else chosen.tobytes()
        return hashlib.sha256(self.source.data_hash.encode() + b"\0" + text).hexdigest()[:32]

    def parent_indices(self, indices: Sequence[int]) -> list[int]:
        """Where these examples stand in the whole source."""
        return [int(self._indices[index]) for index in indices]

    def records(self, shard: int, probe: Probe) -> Index:
        """The values of the chosen examples, from all their shards."""
        chosen, stops = np.asarray(self._indices), np.cumsum(self.source.shard_counts)
        shards = np.searchsorted(stops, chosen, side="right")
        found = np.empty(len(chosen), INDEX_DTYPE)
        for number in np.unique(shards).tolist():
            here = shards == number
            begin = stops[number] - self.source.shard_counts[number]
            found[here] = self.source.records(number, probe)[chosen[here] - begin]
        return found

    def fingerprint(self, shard: int) -> str | None:
        """Over those of all shards."""
        return joined_fingerprint(self.source)

    def __repr__(self) -> str:
        return f"{self.source!r} [{len(self):,} selected]"


def _checked_indices(source: Source, given: Any) -> NDArray[np.int64]:
    """The indices that are meant, (num,) int64."""
    expected = "it must be a sequence of indices, or one Boolean per example"
    if isinstance(given, Set | Mapping | str | bytes) or not isinstance(given, Sized):
        raise TypeError(f"select is of type {type(given).__name__}; {expected}.")
    indices = np.asarray(given)
    if indices.ndim != 1:
        raise TypeError(f"select has the shape {indices.shape}; {expected}.")
    if indices.dtype == np.bool_:
        if len(indices) != len(source):
            raise ValueError(
                f"select has {len(indices):,} Booleans, but {source.name} has {len(source):,} examples."
            )
        return np.flatnonzero(indices)
    if len(indices) and indices.dtype.kind not in "iu":
        raise TypeError(f"select holds values of type {indices.dtype}; {expected}.")
    return indices.astype(np.int64)
