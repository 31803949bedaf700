"""a. How fast shards come from an unthrottled server into the cache, and what that costs in CPU time."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.remote_parts.servers import Nginx
from pipelines import ShardSource, open_source
from pipelines.storage.remote.reading import RemoteReading
from pipelines.storage.remote.remote_store import RemoteStore
from pipelines.storage.remote.shard_store import ShardStore

__all__ = ["measure"]

RUNS = 3


def measure(server: Nginx, names: list[str], scratch: Path) -> None:
    """Print MB/s and CPU seconds per GB, of the best of some runs: of a stage alone, and of all together."""
    total = sum(_size(server, name) for name in names)
    block = bytes(range(256)) * 4096
    rows: dict[str, Callable[[], None]] = {
        "SHA-256 alone": lambda: _hash(block, total),
        "receiving alone": lambda: _receive(server, names),
    }
    folders = {place: Path(place) / f"dirvae-{scratch.name}" for place in ("/dev/shm", "/tmp")}
    for place, folder in folders.items():
        if folder.parent.is_dir():
            for threads in (1, 2, 4):
                what = f"into the cache in {place}, {threads} thread{'s' * (threads > 1)}"
                rows[what] = _into_cache(server, names, folder, threads)
    print(f"a. {len(names)} shards, {total / 1e6:,.0f} MB, nginx on this machine, SHA-256 compared: best of {RUNS}")
    for what, run in rows.items():
        speeds, costs = [], []
        for _ in range(RUNS):
            before, began = _cpu_seconds(), time.perf_counter()
            run()
            speeds.append(total / (time.perf_counter() - began) / 1e6)
            costs.append((_cpu_seconds() - before) / total * 1e9)
        cores = min(costs) * 0.4
        print(f"   {what:<42}{max(speeds):>7,.0f} MB/s{min(costs):>7.2f} CPU s/GB: {cores:.2f} cores at 400 MB/s")
    for folder in folders.values():
        shutil.rmtree(folder, ignore_errors=True)


def _into_cache(server: Nginx, names: list[str], folder: Path, threads: int) -> Callable[[], None]:
    def run() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os.environ["DIRVAE_CACHE"] = str(folder)
        source = open_source(f"{server.url}/set", remote=RemoteReading(threads=threads, fetch="whole"))
        assert isinstance(source, ShardSource)
        store = source.store
        assert isinstance(store, ShardStore)
        store.begin_order("stored", 1.0)
        store.expect(source.tars)
        for tar in source.tars:
            assert store.local_copy(tar, wait=True) is not None
        source.close()

    return run


def _size(server: Nginx, name: str) -> int:
    return RemoteStore(server.url).size_of(f"{server.url}/set/{name}") or 0


def _receive(server: Nginx, names: list[str]) -> None:
    store = RemoteStore(server.url)
    for name in names:
        store.download(f"{server.url}/set/{name}", len, copied=False)
    store.close()


def _hash(block: bytes, total: int) -> None:
    digest = hashlib.sha256()
    for _ in range(total // len(block)):
        digest.update(block)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
