"""One source in one order: what stands at (epoch, position), for every epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..order.epoch_order import EpochOrder, Shuffle
from ..sources.source import Source
from .state import Identity

__all__ = ["Span", "Stream"]


@dataclass(frozen=True)
class Span:
    """The data an epoch runs over: all of a source, or the prefix that it was when the epoch began."""

    examples: int
    data_hash: str


@dataclass(frozen=True)
class Stream:
    """A source and the settings of its order; see `DataIterator` for what they mean.

    Raises `ValueError` or `TypeError` for settings that make no sense.
    """

    source: Source
    shuffle: Shuffle
    shuffle_shards: int | None
    seed: int
    groups: int

    def __post_init__(self) -> None:
        if self.shuffle not in (True, False, "files"):
            raise ValueError(f"shuffle is {self.shuffle!r}; it must be True, False or 'files'.")
        if self.shuffle_shards is not None and (self.shuffle_shards < 1 or self.shuffle is not True):
            raise ValueError("shuffle_shards is a whole number from 1 up, and goes with shuffle=True.")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise TypeError(f"seed is {self.seed!r}; it must be a whole number.")

    def whole(self) -> Span:
        """All of the source."""
        return Span(len(self.source), self.source.data_hash)

    def order(self, epoch: int, span: Span) -> EpochOrder:
        """The order of an epoch over a span."""
        files = self.source.file_counts if self.shuffle == "files" else None  # None: a file holds one example
        if self.shuffle == "files" and files is None and self.source.clip_spec is not None:
            raise ValueError(
                f"{self.source.name}: shuffle='files' needs the clips of whole files. Select among the files first."
            )
        counts = self.source.shard_counts if self.shuffle_shards is not None else files
        if counts is not None:
            counts = np.diff(np.minimum(np.cumsum(counts), span.examples), prepend=0)
        return EpochOrder(
            span.examples,
            seed=self.seed,
            epoch=epoch,
            shuffle=True if self.shuffle == "files" and files is None else self.shuffle,
            groups=self.groups,
            shuffle_shards=self.shuffle_shards,
            counts=counts,
        )

    def identity(self, span: Span) -> Identity:
        """What a position in this stream means nothing without."""
        order = (self.seed, self.shuffle, self.shuffle_shards, self.groups)
        return Identity(*order, span.examples, span.data_hash, self.source.clip_spec)
