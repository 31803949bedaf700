"""The settings for reading remote shards, and the cache that follows from them."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal, get_args

from ...order.checked_numbers import whole_number
from ..cache import cache_folder
from .remote_store import RemoteOptions
from .shard_cache import ShardCache

__all__ = ["Fetch", "RemoteReading", "number_of_bytes"]

Fetch = Literal["auto", "whole", "ranges"]
MOST_CACHE_BYTES = 256 << 30


@dataclass(frozen=True)
class RemoteReading:
    """How remote shards are read.

    fetch        "whole": shards through the cache; "ranges": only the bytes of examples, nothing is kept; "auto": as
                 the order asks
    cache_bytes  bound of the cache on the local disk, below `DIRVAE_CACHE`; None: `DIRVAE_CACHE_BYTES`, or half of what
                 is free there
    read_ahead_bytes   most bytes that are fetched before they are needed; of ranges, kept in memory, at most 64 MiB
    threads      threads that fetch whole shards; twice as many fetch ranges, which are smaller
    options      options of the client; credentials come from the environment, see `RemoteOptions`
    """

    fetch: Fetch = "auto"
    cache_bytes: int | None = None
    read_ahead_bytes: int = 1 << 30
    threads: int = 4
    options: RemoteOptions = field(default_factory=RemoteOptions)

    def __post_init__(self) -> None:
        if self.fetch not in get_args(Fetch):
            raise ValueError(f"fetch is {self.fetch!r}; it must be one of {', '.join(map(repr, get_args(Fetch)))}.")
        for name, least in (("read_ahead_bytes", 0), ("threads", 1)):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least=least))
        if self.cache_bytes is not None:
            object.__setattr__(self, "cache_bytes", whole_number("cache_bytes", self.cache_bytes, least=1))

    def cache(self) -> ShardCache:
        """The cache of this user on this machine. Raises `ValueError` for a `DIRVAE_CACHE_BYTES` that is no number."""
        folder = cache_folder() / "shards"
        return ShardCache(folder, self.cache_bytes or _bytes_of_environment() or _half_of_free(folder))


def number_of_bytes(text: str) -> int:
    """200G or 1.5T as a number: K, M, G and T are powers of 1,024. Raises `ValueError`."""
    units = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
    found = re.fullmatch(r"([0-9]{1,20}(?:\.[0-9]{1,20})?)([KMGT]?)", text.upper())
    number = int(Decimal(found[1]) * units[found[2]]) if found else 0
    if not number:
        raise ValueError(
            f"{text!r} is no number of bytes, such as 200G, 1.5T or 5000000000; units are K, M, G and T"
        )
    return number


def _bytes_of_environment() -> int:
    """`DIRVAE_CACHE_BYTES`; 0 where it is not set."""
    text = os.environ.get("DIRVAE_CACHE_BYTES", "").strip()
    try:
        return number_of_bytes(text) if text else 0
    except ValueError as error:
        raise ValueError(f"DIRVAE_CACHE_BYTES: {error}.") from None


def _half_of_free(folder: Path) -> int:
    """Half of the bytes that are free on the disk of a folder, or in it already."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    kept = sum(path.stat().st_size for path in folder.glob("*.shard")) if folder.is_dir() else 0
    return max(1, min(MOST_CACHE_BYTES, (shutil.disk_usage(place).free + kept) // 2))
