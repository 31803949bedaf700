"""One source in one order: the example at (epoch, position), for every epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..order.epoch_order import EpochOrder, Shuffle
from ..order.ranks import RankSplit
from ..sources.source import ReadOrder, Source
from .state import Identity

__all__ = ["DataPrefix", "OrderedSource"]


@dataclass(frozen=True)
class DataPrefix:
    """The data an epoch runs over: all of a source, or the prefix that it was when the epoch began."""

    examples: int
    data_hash: str


@dataclass(frozen=True)
class OrderedSource:
    """A source and the settings of its order; see `ReadOptions` for what they mean."""

    source: Source
    shuffle: Shuffle
    shuffle_shards: int | None
    seed: int
    groups: int

    @property
    def read_order(self) -> ReadOrder:
        """The kind of order its examples are read in."""
        if self.shuffle is False:
            return "stored"
        return "random" if self.shuffle is True and self.shuffle_shards is None else "by_shard"

    def begin(self, split: RankSplit) -> None:
        """Tell the source that an epoch begins: how it is read, and what share of the shards at a time."""
        shards = max(1, len(self.source.shard_counts))
        is_divided = split.groups % split.world_size == 0
        streams = split.groups // split.world_size if is_divided else split.groups
        share = 1 / split.world_size if is_divided else 1.0
        order = "random" if self.shuffle == "files" else self.read_order
        if order != "random":
            share = min(share, streams * ((self.shuffle_shards or 0) + 1) / shards)
        self.source.begin_order(order, share)

    def whole(self) -> DataPrefix:
        """All of the source."""
        return DataPrefix(len(self.source), self.source.data_hash)

    def order(self, epoch: int, prefix: DataPrefix) -> EpochOrder:
        """The order of an epoch over a prefix."""
        files = self.source.file_counts if self.shuffle == "files" else None  # None: a file holds one example
        if self.shuffle == "files" and files is None and self.source.clip_spec is not None:
            raise ValueError(
                f"{self.source.name}: shuffle='files' needs the clips of whole files. Select among the files first."
            )
        counts = self.source.shard_counts if self.shuffle_shards is not None else files
        if counts is not None:
            counts = np.diff(np.minimum(np.cumsum(counts), prefix.examples), prepend=0)
        return EpochOrder(
            prefix.examples,
            seed=self.seed,
            epoch=epoch,
            shuffle=True if self.shuffle == "files" and files is None else self.shuffle,
            groups=self.groups,
            shuffle_shards=self.shuffle_shards,
            counts=counts,
        )

    def identity(self, prefix: DataPrefix) -> Identity:
        """What gives a position in this order its meaning."""
        order = (self.seed, self.shuffle, self.shuffle_shards, self.groups)
        return Identity(*order, prefix.examples, prefix.data_hash, self.source.clip_spec)
