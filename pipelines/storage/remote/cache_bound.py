"""The error for an order that needs a larger cache: its shards would be fetched again and again."""

from __future__ import annotations

from typing import Literal

from ...errors import SourceError
from .shard_cache import ShardCache

__all__ = ["Order", "too_small"]

Order = Literal["stored", "by_shard", "random"]


def too_small(cache: ShardCache, place: str, order: Order, needed: int) -> SourceError:
    """The error for shards at `place` if `needed` bytes are read at a time, and the cache is smaller."""
    what = {
        "random": "a full shuffle reads {} in any order",
        "by_shard": "a window of shards has {}",
        "stored": "what is read side by side has {}",
    }[order].format(_amount(needed))
    remedies = {
        "random": "Shuffle within windows (shuffle_shards=16), divide the set between ranks (groups), raise",
        "by_shard": "Use a smaller window (shuffle_shards), raise",
        "stored": "Raise",
    }
    return SourceError(
        f"{place}: {what}, and the cache in {cache.folder} may hold "
        f"{_amount(cache.max_bytes)}, so that shards would be fetched again and again. {remedies[order]} "
        'cache_bytes (DIRVAE_CACHE_BYTES), or read single examples with RemoteReading(fetch="ranges").'
    )


def _amount(num: int) -> str:
    """Bytes as 1.50 GB, 4.20 MB or 3.00 kB, and below that as they are."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num >= size:
            return f"{num / size:,.2f} {unit}"
    return f"{num} bytes"
