"""What goes into which shard, decided from the listing and the settings before any file is read.

The plan is a pure function of both, so an interrupted run makes it again and continues; what is saved is what
it was made from. Shards are cut by the sizes of the source files, whatever becomes of them: a file that turns
out to be unreadable, or is made smaller, or cut into many examples, moves no other file to another shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..order.epoch_order import permutation
from ..order.randomness import Purpose, derive_key
from ..storage.keys import KeyMaker
from ..storage.listing import Listing, SourceFile
from ..storage.tar import BLOCK, padded
from .classes import class_of, number_classes
from .settings import PackSettings

__all__ = ["Plan", "PlannedFile", "PlannedShard", "make_plan"]

PLAN_VERSION = 1
SMALLEST_SHARD, LARGEST_SHARD, USUAL_SHARDS = 16 << 20, 256 << 20, 16


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file, the key it gets, and the number of its class, None without."""

    key: str
    file: SourceFile
    label: int | None = None


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """A shard to be made: its number and the files that belong in it, in order."""

    number: int
    files: tuple[PlannedFile, ...]


@dataclass(frozen=True)
class Plan:
    """All shards to be made: files in packing order, cut after `stops`; numbered from `first_shard`.

    `listing` is the fingerprint of everything in the source; `base` the data hash of the shards that are
    there already and stay (empty for none); `classes` the number of each class, empty without.
    """

    listing: str
    settings: PackSettings
    base: str
    first_shard: int
    files: list[PlannedFile]
    stops: list[int]
    classes: dict[str, int] = field(default_factory=dict)

    @property
    def shards(self) -> Iterator[PlannedShard]:
        """The shards in order."""
        start = 0
        for number, stop in enumerate(self.stops):
            yield PlannedShard(self.first_shard + number, tuple(self.files[start:stop]))
            start = stop

    def describe(self) -> dict[str, Any]:
        """What is saved before packing begins: enough to see whether a run can be continued."""
        return {
            "version": PLAN_VERSION,
            "listing": self.listing,
            "settings": self.settings.describe(),
            "base": self.base,
            "first_shard": self.first_shard,
            "stops": self.stops,
        }


def make_plan(
    listing: Listing,
    settings: PackSettings,
    *,
    packed: dict[str, str] | None = None,
    base: str = "",
    first_shard: int = 0,
    classes: Mapping[str, int] = MappingProxyType({}),
) -> Plan:
    """Key, label, shuffle and cut. `packed` maps paths that are in shards already, and left out, to their keys.

    Keys are given in the order of the paths, so that no setting changes them. `classes` are those that have their
    numbers. Raises `SourceError` where there are to be classes and are none.
    """
    packed = packed or {}
    new = [file for file in listing.files if file.path not in packed]
    numbers = number_classes(listing.files, classes) if settings.classes else {}
    keys = KeyMaker(set(packed.values()))
    planned = [PlannedFile(keys.key(file.path), file, numbers.get(class_of(file.path) or "")) for file in new]
    if settings.shuffle is not None:
        key = derive_key(settings.shuffle, Purpose.PACKING, first_shard)
        planned = [planned[index] for index in permutation(len(planned), key).tolist()]
    spans = [_span_bytes(one.file) for one in planned]
    limit = settings.shard_bytes or min(LARGEST_SHARD, max(SMALLEST_SHARD, sum(spans) // USUAL_SHARDS))
    stops = _cut(spans, limit, settings.shard_examples)
    return Plan(listing.fingerprint, settings, base, first_shard, planned, stops, numbers)


def _span_bytes(file: SourceFile) -> int:
    sizes = [file.size, *(size for _, size in file.sidecars)]
    return sum(BLOCK + padded(size) for size in sizes)


def _cut(spans: list[int], most_bytes: int, most_examples: int) -> list[int]:
    """Where each shard stops: before it would grow beyond `most_bytes`, or when it holds `most_examples`."""
    stops, filled, start = [], 0, 0
    for index, span in enumerate(spans):
        if index > start and (filled + span > most_bytes or index - start == most_examples):
            stops.append(index)
            filled, start = 0, index
        filled += span
    return [*stops, len(spans)] if spans else []
