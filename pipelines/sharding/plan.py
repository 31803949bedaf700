"""What goes into which shard, decided from the listing and the settings before any image is read.

The plan is a pure function of both, so an interrupted run makes it again and goes on; what is saved is what
it was made from. Shards are cut by the sizes of the source files, whatever becomes of them: a file that turns
out to be unreadable, or is made smaller, moves no other file to another shard.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..keys import KeyMaker
from ..order import permutation
from ..randomness import Domain, derive_key
from ..tar import BLOCK, padded
from .listing import Listing, SourceImage

__all__ = ["PackSettings", "Plan", "PlannedImage", "PlannedShard", "make_plan"]

PLAN_VERSION = 1
SMALLEST_SHARD, LARGEST_SHARD, USUAL_SHARDS = 16 << 20, 256 << 20, 16


@dataclass(frozen=True)
class PackSettings:
    """Everything that decides the bytes of the shards, given the listing. Raises `ValueError` for nonsense.

    shuffle         seed of the order in which files are packed; None: sorted by path.
    shard_bytes     bytes of source files in a shard, tar padding included; None: a sixteenth of the whole,
                    between 16 and 256 MiB.
    shard_examples  most examples in a shard.
    decode          decode every image whole, not just its header.
    resize          shorter side in pixels of the JPEGs to make; None: pack the files as they are.
    quality         JPEG quality from 1 to 95 with `resize`; None without.
    """

    shuffle: int | None = 0
    shard_bytes: int | None = None
    shard_examples: int = 10_000
    decode: bool = False
    resize: int | None = None
    quality: int | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("shard_bytes", self.shard_bytes),
            ("shard_examples", self.shard_examples),
            ("resize", self.resize),
        ):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1.")
        if self.resize is None and self.quality is not None:
            raise ValueError(f"quality is {self.quality}, but nothing is encoded: it needs resize.")
        if self.quality is not None and not 1 <= self.quality <= 95:
            raise ValueError(f"quality is {self.quality}; it must lie between 1 and 95.")
        if self.resize is not None and self.quality is None:
            object.__setattr__(self, "quality", 90)

    def describe(self) -> dict[str, Any]:
        """The settings as they stand in the manifest."""
        return asdict(self)

    def differences(self, other: dict[str, Any]) -> list[str]:
        """How other settings, as `describe` gave them, differ: "resize was 256 and is None"."""
        ours = self.describe()
        names = [field.name for field in fields(self)]
        return [
            f"{name} was {other.get(name)} and is {ours[name]}" for name in names if other.get(name) != ours[name]
        ]


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """An image and the key it gets."""

    key: str
    image: SourceImage


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """A shard to be made: its number and the images that belong in it, in order."""

    number: int
    images: tuple[PlannedImage, ...]


@dataclass(frozen=True)
class Plan:
    """All shards to be made: images in packing order, cut after `stops`; numbered from `first_shard`.

    `listing` is the fingerprint of everything in the source; `base` the data hash of the shards that are
    there already and stay (empty for none).
    """

    listing: str
    settings: PackSettings
    base: str
    first_shard: int
    images: list[PlannedImage]
    stops: list[int]

    @property
    def shards(self) -> Iterator[PlannedShard]:
        """The shards in order."""
        start = 0
        for place, stop in enumerate(self.stops):
            yield PlannedShard(self.first_shard + place, tuple(self.images[start:stop]))
            start = stop

    def describe(self) -> dict[str, Any]:
        """What is saved before packing begins: enough to tell whether a run may go on."""
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
) -> Plan:
    """Key, shuffle and cut. `packed` maps paths that are in shards already, and left out, to their keys.

    Keys are given in the order of the paths, so that no setting changes them.
    """
    packed = packed or {}
    new = [image for image in listing.images if image.path not in packed]
    keys = KeyMaker(set(packed.values()))
    planned = [PlannedImage(keys.key(_speakable(image.path)), image) for image in new]
    if settings.shuffle is not None:
        key = derive_key(settings.shuffle, Domain.PACKING, first_shard)
        planned = [planned[index] for index in permutation(len(planned), key).tolist()]
    spans = [_span_bytes(one.image) for one in planned]
    limit = settings.shard_bytes or min(LARGEST_SHARD, max(SMALLEST_SHARD, sum(spans) // USUAL_SHARDS))
    stops = _cut(spans, limit, settings.shard_examples)
    return Plan(listing.fingerprint, settings, base, first_shard, planned, stops)


def _span_bytes(image: SourceImage) -> int:
    sizes = [image.size, *(size for _, size in image.sidecars)]
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


def _speakable(path: str) -> str:
    """A path that can be printed and stored anywhere: bytes that are no UTF-8, and control characters, replaced."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if text.isprintable():
        return text
    return "".join("_" if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in text)
