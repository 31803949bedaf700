"""d, continued. Requests and bytes of an epoch in each order, with shards fetched whole or by ranges."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.remote_parts.servers import Nginx
from pipelines import DataIterator, Example, ShardSource, open_source
from pipelines.storage.remote.reading import RemoteReading

__all__ = ["measure"]

ORDERS: dict[str, dict[str, Any]] = {
    "as stored": {"shuffle": False},
    "windows of 2 shards": {"shuffle": True, "shuffle_shards": 2},
    "fully shuffled": {"shuffle": True},
}


def measure(server: Nginx, scratch: Path) -> None:
    """Print requests per 1,000 examples, and bytes as a multiple of the set, over one epoch with a cold cache."""
    print(
        "   An epoch over the photographs, cold cache: requests per 1,000 examples, bytes as a multiple of the set"
    )
    for what, order in ORDERS.items():
        for fetch in ("auto", "whole", "ranges"):
            requests, share, each = _epoch(server, scratch / "orders", fetch, order)
            print(f"   {what:<22}{fetch:<8}{requests:>8.1f} requests{share:>8.3f} × ({each:.0f} examples a shard)")


def _epoch(server: Nginx, cache: Path, fetch: Any, order: dict[str, Any]) -> tuple[float, float, float]:
    shutil.rmtree(cache, ignore_errors=True)
    os.environ["DIRVAE_CACHE"] = str(cache)
    server.forget()
    source = open_source(f"{server.url}/set", remote=RemoteReading(fetch=fetch))
    assert isinstance(source, ShardSource)
    batches = DataIterator(source, _length, batch_size=32, threads=2, **order)
    num = sum(map(len, batches))
    batches.close()
    asked = server.asked()
    whole = source.store.total_bytes  # type: ignore[attr-defined]
    return 1000 * len(asked) / num, sum(count for _, count in asked) / whole, num / len(source.tars)


def _length(example: Example, rng: np.random.Generator) -> np.ndarray:
    return np.array(len(example.media))
