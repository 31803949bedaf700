"""The statistics of a set, counted shard by shard in bounded memory."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..storage.index import Index
from ..storage.manifest import Manifest
from .tar_walk import WalkedExample

__all__ = ["Spread", "Summary"]

STEP = math.log(1.01)
"""The width of a bin of a spread: one percent, as a logarithm."""
MOST_DISTINCT = 4096
"""Distinct sizes, rates, labels or fields that are counted; later ones are counted as "other"."""


@dataclass
class Spread:
    """The distribution of numbers: the least, the most, and a histogram with bins of one percent."""

    num: int = 0
    total: float = 0.0
    least: float = math.inf
    most: float = -math.inf
    bins: Counter[int] = field(default_factory=Counter)

    def add(self, values: Any) -> None:
        """Count numbers from 0 up: (n,)."""
        numbers = np.asarray(values, np.float64)
        if not len(numbers):
            return
        self.num += len(numbers)
        self.total += float(numbers.sum())
        self.least, self.most = min(self.least, float(numbers.min())), max(self.most, float(numbers.max()))
        places = np.floor(np.log(np.maximum(numbers, 1e-9)) / STEP).astype(np.int64)
        found, counts = np.unique(places, return_counts=True)
        self.bins.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))

    def merge(self, other: Spread) -> None:
        """Add the counts of another spread."""
        self.num, self.total = self.num + other.num, self.total + other.total
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.bins.update(other.bins)

    def quantile(self, share: float) -> float:
        """The number below which this share (0 to 1) of the numbers lies, to one percent."""
        seen, wanted = 0, share * self.num
        for place in sorted(self.bins):
            seen += self.bins[place]
            if seen >= wanted:
                return min(self.most, max(self.least, math.exp((place + 0.5) * STEP)))
        return self.most

    def to_json(self) -> dict[str, float] | None:
        """Least, quartiles, most, mean and sum; None if nothing was counted."""
        if not self.num:
            return None
        quartiles = {name: self.quantile(share) for name, share in (("q1", 0.25), ("median", 0.5), ("q3", 0.75))}
        return {
            "least": self.least,
            **quartiles,
            "most": self.most,
            "mean": self.total / self.num,
            "sum": self.total,
        }


@dataclass
class Summary:
    """The numbers of a set. Spreads are of bytes, pixels, seconds and frames of an example."""

    shards: int = 0
    tar_bytes: int = 0
    examples: int = 0
    example_bytes: Spread = field(default_factory=Spread)
    width: Spread = field(default_factory=Spread)
    height: Spread = field(default_factory=Spread)
    seconds: Spread = field(default_factory=Spread)
    frames: Spread = field(default_factory=Spread)
    sizes: Counter[str] = field(default_factory=Counter)
    rates: Counter[str] = field(default_factory=Counter)
    channels: Counter[str] = field(default_factory=Counter)
    fields: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)

    def add_example(self, example: WalkedExample) -> None:
        """Count an example of a tar: its files, and its label if it has a short `cls`."""
        self.examples += 1
        for member in example.members:
            _count(self.fields, member.suffix)
            if member.suffix == "cls" and member.content:
                _count(self.labels, member.content.decode("utf-8", "replace").strip())

    def add_index(self, index: Index, modality: str | None) -> None:
        """Count the facts of all rows of an index."""
        self.example_bytes.add(index["length"])
        rate = index["rate_numerator"] / np.maximum(index["rate_denominator"], 1)
        timed = (rate > 0) & (index["frames"] >= 0)
        if modality != "image":
            self.seconds.add(index["frames"][timed] / rate[timed])
            self.frames.add(index["frames"][timed])
            _count_all(self.rates, [f"{value:.10g}" for value in rate[timed].tolist()])
        sized = (index["width"] > 0) & (index["height"] > 0)
        self.width.add(index["width"][sized])
        self.height.add(index["height"][sized])
        pairs = zip(index["width"][sized].tolist(), index["height"][sized].tolist(), strict=True)
        _count_all(self.sizes, [f"{width}x{height}" for width, height in pairs])
        _count_all(self.channels, [str(value) for value in index["channels"][index["channels"] > 0].tolist()])

    def merge(self, other: Summary) -> None:
        """Add the counts of another shard."""
        self.shards += other.shards
        self.tar_bytes += other.tar_bytes
        self.examples += other.examples
        for name in ("example_bytes", "width", "height", "seconds", "frames"):
            getattr(self, name).merge(getattr(other, name))
        for name in ("sizes", "rates", "channels", "fields", "labels"):
            for value, num in getattr(other, name).items():
                _count(getattr(self, name), value, num)

    def to_json(self, manifest: Manifest | None) -> dict[str, Any]:
        """All numbers as JSON values; labels by name if the manifest has a table of labels."""
        spreads = {
            name: getattr(self, name).to_json()
            for name in ("example_bytes", "width", "height", "seconds", "frames")
        }
        counts = {
            name: dict(getattr(self, name).most_common(100)) for name in ("sizes", "rates", "channels", "fields")
        }
        return {
            "shards": self.shards,
            "tar_bytes": self.tar_bytes,
            "examples": self.examples,
            **spreads,
            **counts,
            "labels": dict(self.named_labels(manifest)[:100]),
        }

    def named_labels(self, manifest: Manifest | None) -> list[tuple[str, int]]:
        """Labels with their counts, the most frequent first: those of the table of the manifest, else of `cls`."""
        if manifest is not None and manifest.labels is not None and any(manifest.labels.counts):
            pairs = zip(manifest.labels.names, manifest.labels.counts, strict=True)
            return sorted(pairs, key=lambda pair: -pair[1])
        return self.labels.most_common()


def _count(counter: Counter[str], value: str, num: int = 1) -> None:
    counter[value if value in counter or len(counter) < MOST_DISTINCT else "other"] += num


def _count_all(counter: Counter[str], values: list[str]) -> None:
    for value, num in Counter(values).items():
        _count(counter, value, num)
