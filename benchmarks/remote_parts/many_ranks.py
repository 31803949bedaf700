"""e. How often a shard is fetched: by 64 ranks with caches of their own, and by 8 processes that share one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.remote_parts.servers import Nginx
from pipelines import DataIterator, Example, ShardSource
from pipelines.storage.manifest import Manifest, ShardColumns
from pipelines.storage.remote.reading import RemoteReading
from pipelines.storage.remote.remote_store import RemoteStore
from pipelines.storage.remote.shard_fetcher import ShardFacts
from pipelines.storage.remote.shard_store import ShardStore

__all__ = ["measure"]

ROOT = Path(__file__).resolve().parent.parent.parent
PROCESSES, RANKS, SHARDS = 8, 64, 4096
READ_ALL = """
import sys
import numpy as np
from pipelines import DataIterator, open_source
from pipelines.storage.remote.reading import RemoteReading
source = open_source(sys.argv[1], remote=RemoteReading(fetch="whole", cache_bytes=1 << 40))
batches = DataIterator(source, lambda example, rng: np.array(len(example.media)), shuffle=True, shuffle_shards=2,
                       batch_size=64, threads=1, seed=int(sys.argv[2]))
print(sum(map(len, batches)))
"""


class _CountingStore(ShardStore):
    """Fetches nothing: counts the bytes of the shards that would be fetched, each once."""

    def __init__(self, remote: RemoteStore, reading: RemoteReading, shards: Mapping[str, ShardFacts]) -> None:
        super().__init__(remote, reading, shards)
        self._counted: set[str] = set()

    @property
    def bytes_asked(self) -> int:
        """Bytes of all shards that were announced."""
        return sum(self.shards[name].size for name in self._counted)

    def expect(self, names: Iterable[str]) -> None:
        """Count the shards."""
        self._counted.update(names)


def _made_up_set(counts: np.ndarray, sizes: np.ndarray) -> Manifest:
    """The manifest of shards that nobody has made."""
    names = [f"image-{number:06d}.tar" for number in range(len(counts))]
    digests = [f"{number:064x}" for number in range(len(counts))]
    columns = ShardColumns(names, counts.tolist(), sizes.tolist(), digests, [digest[:32] for digest in digests])
    return Manifest("image", columns)


def measure(server: Nginx, scratch: Path) -> None:
    """Print the data over all ranks as a multiple of the set, and the bytes that nginx sent."""
    rng = np.random.default_rng(0)
    counts = rng.integers(900, 1100, SHARDS)
    sizes = counts * 100_000
    print(f"e. {RANKS} ranks on {SHARDS:,} shards of about 100 MB, caches of their own, shuffled in windows of 16")
    for groups in (RANKS, 1):
        asked = [
            _bytes_of_rank(_made_up_set(counts, sizes), rank, groups)
            for rank in range(0, RANKS, 1 if groups > 1 else 16)
        ]
        total = sum(asked) * RANKS / len(asked)
        print(f"   groups={groups:<4}{total / sizes.sum():>8.3f} × the set over all ranks")
    server.forget()
    environment = {
        **os.environ,
        "DIRVAE_CACHE": str(scratch / "shared"),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", READ_ALL, f"{server.url}/set"]
    running = [
        subprocess.Popen([*command, str(number)], env=environment, stdout=subprocess.PIPE, text=True)
        for number in range(PROCESSES)
    ]
    read = [int(process.communicate(timeout=240)[0]) for process in running]
    asked_of = [(path, num) for path, num in server.asked() if path.endswith(".tar")]
    once = dict(asked_of)
    print(f"   {PROCESSES} processes, one cache, {read[0]:,} examples each: {len(asked_of)} requests for {len(once)} "
          f"shards, {sum(num for _, num in asked_of) / sum(once.values()):.3f} × the set")  # fmt: skip


def _bytes_of_rank(manifest: Manifest, rank: int, groups: int) -> int:
    names = [f"http://127.0.0.1:9/{name}" for name in manifest.shards.name]
    facts = {name: ShardFacts(size) for name, size in zip(names, manifest.shards.bytes, strict=True)}
    store = _CountingStore(RemoteStore("http://127.0.0.1:9"), RemoteReading(cache_bytes=1 << 50), facts)
    source = ShardSource(names, manifest=manifest, store=store)
    batches = DataIterator(source, _nothing, batch_size=256, rank=rank, world_size=RANKS, groups=groups, shuffle=True,
                           shuffle_shards=16)  # fmt: skip
    for _ in batches.jobs():
        pass
    return store.bytes_asked


def _nothing(example: Example, rng: np.random.Generator) -> np.ndarray:
    return np.zeros(1)
