"""What goes into which shard, decided from the listing and the settings before any file is read.

The plan is a pure function of both, so an interrupted run makes it again and continues; what is saved is what
it was made from. Shards are cut by the sizes of the source files, whatever becomes of them: a file that turns
out to be unreadable, or is made smaller, or cut into many examples, moves no other file to another shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..order.epoch_order import permutation
from ..order.randomness import Purpose, derive_key
from ..storage.key_column import KeyColumn
from ..storage.listing import Listing
from ..storage.row_sequence import RowSequence
from ..storage.source_files import SourceFile, SourceFiles
from ..storage.tar import BLOCK
from .classes import class_of, number_classes
from .settings import PackSettings

__all__ = [
    "FileColumns",
    "Plan",
    "PlannedFile",
    "PlannedFiles",
    "PlannedShard",
    "PlannedShards",
    "make_plan",
    "span_bytes",
]

PLAN_VERSION = 1
SMALLEST_SHARD, LARGEST_SHARD, USUAL_SHARDS = 16 << 20, 256 << 20, 16


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file, the key it gets, and the number of its class, None without."""

    key: str
    file: SourceFile
    label: int | None = None


class FileColumns(NamedTuple):
    """Planned files in columns, which cost a third of what objects cost. A column that no file needs is None."""

    keys: Sequence[str]
    paths: Sequence[str]
    sizes: Sequence[int]
    suffixes: Sequence[str]
    sidecars: Sequence[tuple[tuple[str, int], ...]] | None = None
    labels: Sequence[int | None] | None = None

    @classmethod
    def of(cls, planned: Sequence[PlannedFile]) -> FileColumns:
        """These files, in their order."""
        files = [one.file for one in planned]
        return cls(
            [one.key for one in planned],
            [file.path for file in files],
            [file.size for file in files],
            [file.suffix for file in files],
            [file.sidecars for file in files] if any(file.sidecars for file in files) else None,
            [one.label for one in planned] if any(one.label is not None for one in planned) else None,
        )

    def files(self) -> tuple[PlannedFile, ...]:
        """The files as objects."""
        given = (self.paths, self.sizes, self.suffixes, *(() if self.sidecars is None else (self.sidecars,)))
        labels = () if self.labels is None else (self.labels,)
        return tuple(map(PlannedFile, self.keys, map(SourceFile, *given), *labels))


@dataclass(frozen=True)
class PlannedShard:
    """A shard to be made: its number and its files in order. The files become objects on first access."""

    number: int
    columns: FileColumns

    @classmethod
    def of(cls, number: int, files: Sequence[PlannedFile]) -> PlannedShard:
        """A shard of these files."""
        return cls(number, FileColumns.of(files))

    @cached_property
    def files(self) -> tuple[PlannedFile, ...]:
        """Its files."""
        return self.columns.files()


class PlannedFiles(RowSequence[PlannedFile]):
    """Files in packing order, made on access: at place i the file, with its key, at `order[i]`."""

    def __init__(
        self, files: SourceFiles, order: NDArray[np.int64], keys: KeyColumn, classes: Mapping[str, int]
    ) -> None:
        self._files, self._order, self._keys, self._classes = files, order, keys, classes

    def __len__(self) -> int:
        return len(self._order)

    @property
    def columns(self) -> SourceFiles:
        """The files in columns, in this order."""
        return self._files.only(self._order)

    def are_labelled(self) -> NDArray[np.bool_]:
        """(n,) bool: whether each has a label."""
        if not self._classes:
            return np.zeros(len(self), np.bool_)
        return np.fromiter((class_of(path) in self._classes for path in self.columns.paths), np.bool_, len(self))

    def only(self, places: NDArray[np.int64]) -> PlannedFiles:
        """Those at these places, (m,) int64."""
        return PlannedFiles(self._files, self._order[places], self._keys, self._classes)

    def columns_of(self, rows: slice) -> FileColumns:
        """Some of them, in columns."""
        places = self._order[rows]
        files, table = self._files.rows[places], self._files.table
        paths = table.paths.take(files)
        keys = self._keys.of(places.tolist(), paths)
        suffixes = [table.suffixes[code] for code in table.codes[files].tolist()]
        sidecars = table.sidecars.take(files)
        labels = [self._classes.get(class_of(path) or "") for path in paths] if self._classes else None
        sizes = table.sizes[files].tolist()
        return FileColumns(keys, paths, sizes, suffixes, sidecars if any(sidecars) else None, labels)

    def _objects(self, rows: slice) -> list[PlannedFile]:
        return list(self.columns_of(rows).files())


class PlannedShards(Mapping[int, PlannedShard]):
    """The shards of a plan by their numbers, each made on access."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._numbers = range(plan.first_shard, plan.first_shard + len(plan.stops))

    def __getitem__(self, number: int) -> PlannedShard:
        if type(number) is not int or number not in self._numbers:
            raise KeyError(number)
        span = self._places(number)
        return PlannedShard(number, self._plan.files.columns_of(slice(span.start, span.stop)))

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def num_files(self, number: int) -> int:
        """How many files belong in a shard."""
        return len(self._places(number))

    def files_of(self, numbers: Sequence[int]) -> PlannedFiles:
        """The files of some shards, in the order of these."""
        places = [np.arange(span.start, span.stop) for span in map(self._places, numbers)]
        return self._plan.files.only(np.concatenate([np.zeros(0, np.int64), *places]))

    def _places(self, number: int) -> range:
        place, stops = number - self._plan.first_shard, self._plan.stops
        return range(stops[place - 1] if place else 0, stops[place])


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
    files: PlannedFiles
    stops: list[int]
    classes: dict[str, int] = field(default_factory=dict)

    @property
    def shards(self) -> Iterator[PlannedShard]:
        """The shards in order, one at a time."""
        return iter(self.numbered.values())

    @property
    def numbered(self) -> PlannedShards:
        """The shards by their numbers."""
        return PlannedShards(self)

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
    packed, new = packed or {}, listing.columns
    if packed:
        new = new.where(lambda path: path not in packed)
    numbers = number_classes(listing.files, classes) if settings.classes else {}
    keys, order = KeyColumn.given(new.paths, packed.values()), np.arange(len(new))
    if settings.shuffle is not None:
        order = permutation(len(new), derive_key(settings.shuffle, Purpose.PACKING, first_shard))
    ends = np.cumsum(span_bytes(new)[order])
    total = int(ends[-1]) if len(ends) else 0
    limit = settings.shard_bytes or min(LARGEST_SHARD, max(SMALLEST_SHARD, total // USUAL_SHARDS))
    stops = _cut(ends, limit, settings.shard_examples)
    planned = PlannedFiles(new, order, keys, numbers)
    return Plan(listing.fingerprint, settings, base, first_shard, planned, stops, numbers)


def span_bytes(files: SourceFiles) -> NDArray[np.int64]:
    """The bytes of each file in a tar, with those of its sidecars: (n,) int64."""
    sidecars = files.table.sidecars
    return _with_header(files.sizes) + sidecars.sums(files.rows, _with_header(sidecars.sizes))


def _with_header(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bytes of members of a tar, with headers and padding."""
    return BLOCK - (-sizes // BLOCK) * BLOCK


def _cut(ends: NDArray[np.int64], most_bytes: int, most_examples: int) -> list[int]:
    """Where each shard stops: before it would grow beyond `most_bytes`, or when it holds `most_examples`.

    `ends` are the bytes of all files up to each one and with it, in their order.
    """
    stops, start, filled = list[int](), 0, 0
    while start < len(ends):
        fitting = int(np.searchsorted(ends, filled + most_bytes, side="right"))
        start = min(max(fitting, start + 1), start + most_examples, len(ends))
        filled = int(ends[start - 1])
        stops.append(start)
    return stops
