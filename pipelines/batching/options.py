"""What can be said about reading, whatever is read: the settings that every iterator has, checked once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np

from ..order.checked_numbers import whole_number
from ..order.epoch_order import Shuffle
from ..order.ranks import RankSplit, Tail
from .batch_job import Transform

__all__ = ["ReadOptions", "Reading", "check_settings", "field_names", "with_fields"]

WHOLE_NUMBERS: dict[str, int | None] = {
    "batch_size": 1,
    "groups": 1,
    "shuffle_shards": 1,
    "seed": None,
    "rank": None,
    "world_size": 1,
    "threads": 1,
    "limit": 1,
    "prefetch_bytes": 0,
    "max_substitutions": 0,
}
"""Settings that are whole numbers, and the least that each may be."""


MOST = {"batch_size": 1 << 31, "groups": 1 << 31, "world_size": 1 << 31, "threads": 1024}
"""The most that some of them may be: more is a slip, and would fail deep inside."""


class Reading(TypedDict, total=False):
    """The settings of `ReadOptions` as keyword arguments."""

    batch_size: int
    shuffle: Shuffle
    shuffle_shards: int | None
    seed: int
    groups: int
    rank: int | None
    world_size: int | None
    tail: Tail | None
    threads: int | None
    prefetch_bytes: int
    fields: Sequence[str]
    transform: Transform | None
    select: Sequence[int] | None
    limit: int | None
    on_error: Literal["raise", "substitute"]
    max_substitutions: int
    quarantine: str | os.PathLike[str] | None


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """The settings every iterator has. Raises `ValueError` or `TypeError` for what makes no sense.

    batch_size      examples of this rank in a batch
    shuffle         False: as stored; True: uniformly over the whole set; "files": whole files in random order
    shuffle_shards  with shuffle=True: uniformly within windows of this many shards, for storage where random access
                    is slow
    seed            the order and all randomness in decoding follow from it
    groups          the epoch is this many interleaved streams over disjoint stretches of the set
    rank, world_size, tail   the share of this process, and the end of an epoch: see `RankSplit`
    threads         that decode; by default the cores this process may use, 16 at most
    prefetch_bytes  bound on the decoded batches that wait, in bytes
    fields          members of the examples to deliver beside the data, by suffix: see `fields.gather_field`
    transform       `(array, rng, example) -> array`, for each example
    select, limit   only these indices of the source; only this many examples
    on_error        "raise", or "substitute": an example that cannot be decoded is replaced by another, drawn by
                    its position, marked in the batch
    max_substitutions   how many on this rank, over the run's whole life, before the next one raises
    quarantine      file to which every example that was replaced is added, as a line of JSON
    """

    batch_size: int = 64
    shuffle: Shuffle = False
    shuffle_shards: int | None = None
    seed: int = 0
    groups: int = 1
    rank: int | None = None
    world_size: int | None = None
    tail: Tail | None = None
    threads: int | None = None
    prefetch_bytes: int = 256 << 20
    fields: Sequence[str] = ()
    transform: Transform | None = None
    select: Sequence[int] | None = None
    limit: int | None = None
    on_error: Literal["raise", "substitute"] = "raise"
    max_substitutions: int = 1000
    quarantine: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "substitute"):
            raise ValueError(f"on_error is {self.on_error!r}; it must be 'raise' or 'substitute'.")
        shuffle: Any = self.shuffle
        if not (isinstance(shuffle, bool | np.bool_) or shuffle == "files"):
            raise ValueError(f"shuffle is {shuffle!r}; it must be True, False or 'files'.")
        object.__setattr__(self, "shuffle", "files" if shuffle == "files" else bool(shuffle))
        for name, least in WHOLE_NUMBERS.items():
            value, may_be_none = getattr(self, name), getattr(type(self), name) is None
            if value is not None or not may_be_none:
                object.__setattr__(self, name, whole_number(name, value, least=least, most=MOST.get(name)))
        if self.shuffle_shards is not None and self.shuffle is not True:
            raise ValueError(f"shuffle_shards is {self.shuffle_shards}, which needs shuffle=True.")
        _ = self.split
        if self.transform is not None and not callable(self.transform):
            raise TypeError(
                f"transform is {self.transform!r}; it must be a function (array, rng, example) -> array."
            )
        if self.quarantine is not None and not isinstance(self.quarantine, str | os.PathLike):
            raise TypeError(f"quarantine is {self.quarantine!r}; it must be the path of a file.")
        if self.quarantine is not None and not Path(self.quarantine).parent.is_dir():
            raise ValueError(f"quarantine is {str(self.quarantine)!r}; that folder is missing. Make it first.")
        object.__setattr__(self, "fields", field_names(self.fields))

    @property
    def split(self) -> RankSplit:
        """How batches are cut from an epoch, and this rank's share of them."""
        return RankSplit.resolve(
            self.batch_size, rank=self.rank, world_size=self.world_size, groups=self.groups, tail=self.tail
        )


def check_settings(iterator: type, given: Iterable[str]) -> None:
    """Raise `TypeError` for a keyword argument that an iterator does not have."""
    own = [
        name
        for name, parameter in signature(iterator).parameters.items()
        if parameter.kind is Parameter.KEYWORD_ONLY
    ]
    names = [*own, *(setting.name for setting in fields(ReadOptions))]
    for name in given:
        if name not in names:
            near = get_close_matches(name, names, 1, cutoff=0.75)
            hint = f"Did you mean {near[0]}?" if near else f"It has {', '.join(names)}."
            raise TypeError(f"{iterator.__name__} has no setting {name!r}. {hint}")


def with_fields(reading: Mapping[str, Any], names: Iterable[str]) -> Reading:
    """The settings with more fields to deliver."""
    asked = field_names(reading.get("fields", ()))
    return Reading(**{**reading, "fields": (*asked, *(name for name in names if name not in asked))})  # type: ignore[typeddict-item]


def field_names(fields: object) -> tuple[str, ...]:
    """The setting `fields` as a tuple: one name or several. Raises `TypeError` for what holds anything but names."""
    is_one = isinstance(fields, str) or not isinstance(fields, Iterable) or getattr(fields, "ndim", 1) == 0
    names: Any = (fields,) if is_one else tuple(fields)  # type: ignore[arg-type]
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"fields is {fields!r}; it must be suffixes of members, such as ('json', 'cls').")
    checked: tuple[str, ...] = names
    return checked
