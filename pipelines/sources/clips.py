"""Clips of a source's examples, as a source: what plays examples plays clips, with nothing new to know.

clip index ─▶ shard (8 bytes each) ─▶ recording, by the shard's own table ─▶ clip of it ─▶ KEY@START
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import ExampleError, SourceError
from ..modality import find_modality
from ..order.clip_arithmetic import ClipSpec
from ..storage.cache import cached_array
from ..storage.index import Index, Record
from .located import LazyFields, LocatedExample, ReadOrder
from .records import Probe
from .source import Example, Source, joined_fingerprint

__all__ = ["Clip", "ClipSource"]

KEPT_TABLES = 64
KEPT_PLACES = 1024
LIVE = ("_table", "_located", "_file_counts")


@dataclass(slots=True, kw_only=True, repr=False)
class Clip(Example):
    """One clip, not yet read: `media` is empty, its decoder reads what it needs of `located`.

    It is clip `number` of the `count` of a recording of which `record` says how long it is; it begins at output frame
    `start`. Its `index` is that of the clip, its fields are the recording's.
    """

    located: LocatedExample
    record: Record
    number: int
    count: int
    start: int


@dataclass(frozen=True, slots=True)
class ClipTable:
    """The recordings of one shard: their records, and the number of clips up to each one's end, both (recordings,)."""

    records: Index
    stops: NDArray[np.int64]


class ClipSource(Source):
    """The clips of the recordings of a source, in the recordings' order; keys are `KEY@START`.

    START is in the recording's own frames. How many clips a shard has is computed once for each data and `spec`,
    and kept in the cache; a shard's own table is read when one of its clips is. Raises `SourceError` where there is
    no clip at all.
    """

    def __init__(self, source: Source, spec: ClipSpec, probe: Probe) -> None:
        self.source, self.spec, self._probe = source, spec, probe
        self.name = source.name
        self._recordings = np.asarray(source.shard_counts, np.int64)
        self._recording_stops = np.cumsum(self._recordings)
        self._forget_live()
        identity = joined_fingerprint(source)
        what = ["clip counts", identity, source.data_hash, probe.kind, spec.describe_counts()] if identity else None
        self._counts = np.array(cached_array(what, self._count, np.dtype(np.int64), len(self._recordings)))
        self._stops = np.cumsum(self._counts)
        source.close()  # counting may have opened some of it
        probe.close()
        if not len(self):
            media = find_modality(probe.modality)
            if spec.short == "pad":
                raise SourceError(f"{self.name}: its {media.plural} hold no {media.step}s. Name others.")
            noun, setting, length = spec.length_setting
            raise SourceError(
                f"{self.name}: no {media.noun} in it is as long as a {noun} of {length:,} frames. "
                f'Use a smaller {setting}, or short="pad".'
            )

    def _forget_live(self) -> None:
        me = weakref.proxy(self)  # open tables are closed with the last reference, not by the garbage collector
        self._table = lru_cache(maxsize=KEPT_TABLES)(lambda shard: cast(ClipTable, me._make_table(shard)))
        self._located = lru_cache(maxsize=KEPT_PLACES)(self.source.locate)
        self._file_counts: NDArray[np.int64] | None = None

    def _count(self) -> NDArray[np.int64]:
        """Clips in each shard: every shard's records are looked at, one after the other."""
        return np.array([self._counts_of(shard).sum() for shard in range(len(self._recordings))], np.int64)

    def _counts_of(self, shard: int) -> NDArray[np.int64]:
        return self.spec.counts(self.source.records(shard, self._probe))

    def _make_table(self, shard: int) -> ClipTable:
        records = self.source.records(shard, self._probe)
        stops = np.cumsum(self.spec.counts(records))
        if len(stops) and stops[-1] != self._counts[shard]:
            raise SourceError(
                f"{self.name}: shard {shard} has {int(stops[-1]):,} clips, {int(self._counts[shard]):,} were counted. "
                "Its files were changed while it was open: open it again."
            )
        return ClipTable(records, stops)

    def __len__(self) -> int:
        return int(self._stops[-1]) if len(self._stops) else 0

    @property
    def shard_counts(self) -> NDArray[np.int64]:
        """Clips in each shard: (shards,) int64."""
        return self._counts

    @property
    def file_counts(self) -> NDArray[np.int64]:
        """Clips in each recording: (recordings,) int64, from all shards' tables."""
        if self._file_counts is None:
            self._file_counts = np.concatenate([self._counts_of(shard) for shard in range(len(self._recordings))])
        return self._file_counts

    @property
    def clip_spec(self) -> dict[str, Any]:
        """How clips are cut, as JSON."""
        return self.spec.describe()

    def prefix_hash(self, examples: int) -> str | None:
        """The hash of the recordings, up to the first shard that ends with this many clips."""
        shard = int(np.searchsorted(self._stops, examples, side="left"))
        if examples <= 0 or shard == len(self._stops) or self._stops[shard] != examples:
            return None
        return self.source.prefix_hash(int(self._recording_stops[shard]))

    def expect(self, indices: NDArray[np.int64] | None, *, order: ReadOrder) -> None:
        """Tell the reader of the clips, and the source of the recordings, what is read next and in which order."""
        if indices is None:
            self._probe.expect(order)
            self.source.expect(None, order=order)
        elif self.source.examples_ahead and self.source.fetches_shards:  # by ranges a clip reads only a part
            shards = np.searchsorted(self._stops, indices, side="right")
            self.source.expect((self._recording_stops - self._recordings)[shards], order=order)

    @property
    def fetches_shards(self) -> bool:
        """As the source of the recordings."""
        return self.source.fetches_shards

    @property
    def examples_ahead(self) -> int:  # type: ignore[override]
        """What the source of the recordings wants, as a number of clips."""
        ahead = self.source.examples_ahead
        return math.ceil(ahead * len(self) / max(1, len(self.source))) if ahead else 0

    def begin_order(self, order: ReadOrder, share: float) -> None:
        """Tell the source of the recordings."""
        self.source.begin_order(order, share)

    @property
    def fetch_counts(self) -> dict[str, float]:
        """As in the source of the recordings."""
        return self.source.fetch_counts

    def explain(self, error: ExampleError) -> ExampleError:
        """As the source of the recordings does."""
        return self.source.explain(error)

    def read(self, indices: Sequence[int]) -> list[Example]:
        """The clips at these indices; where they lie is looked up, their samples are left to the decoder."""
        rows = np.asarray(indices, np.int64)
        shards = np.searchsorted(self._stops, rows, side="right")
        within = rows - (self._stops[shards] - self._counts[shards])
        places = zip(rows.tolist(), shards.tolist(), within.tolist(), strict=True)
        return [self._clip(index, shard, place) for index, shard, place in places]

    def _clip(self, index: int, shard: int, place: int) -> Clip:
        table = self._table(shard)
        row = int(np.searchsorted(table.stops, place, side="right"))
        before = int(table.stops[row - 1]) if row else 0
        record, number = Record(*table.records[row].item()), place - before
        located = self._located(int(self._recording_stops[shard] - self._recordings[shard]) + row)
        start = self.spec.start(number)
        return Clip(
            index,
            self.spec.key(located.key, start, record),
            b"",
            located.container,
            located.offset,
            LazyFields(located.fields),
            located=located,
            record=record,
            number=number,
            count=int(table.stops[row]) - before,
            start=start,
        )

    def close(self) -> None:
        """Close the recordings, their source and the tables."""
        self._forget_live()
        self._probe.close()
        self.source.close()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in LIVE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_live()

    def __repr__(self) -> str:
        return f"{self.source!r} as {len(self):,} clips of {self.spec.window:,} frames"
