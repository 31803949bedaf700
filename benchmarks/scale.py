"""What opening and resuming cost at 10⁹ examples in 10⁵ shards, read by 1,024 ranks.

    python benchmarks/scale.py [--shards 100000] [--examples 10000] [--ranks 1024] [--ranks-per-node 8]

Nobody has made the shards: a server of this machine has their manifest and makes up an index when it is asked for one.
All is measured in a process of its own, so that its memory can be measured. Times are CPU times. Bytes per node are
arithmetic: the shards that the ranks of a node read in an epoch, each counted once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from pipelines import DataIterator, Example, open_source
from pipelines.sources.shards import ShardSource
from pipelines.storage.index import INDEX_DTYPE, INDEX_VERSION, index_bytes, index_digest
from pipelines.storage.manifest import Manifest, ShardColumns
from pipelines.storage.remote.reading import RemoteReading

EXAMPLE_BYTES = 100_352
"""Bytes of an example in its tar: a header, about 100 KB, and padding."""
BATCH_SIZE, WINDOW, STEPS = 64, 16, 200
SAMPLED = 61
"""One of so many positions of a rank is looked at; that is more than a hundred per shard."""


def main(argv: list[str] | None = None) -> int:
    """Serve, measure in a child, and print."""
    options = _parse(argv)
    if options.url:
        print(json.dumps(_measured(options)))
        return 0
    from tests.web_server import WebServer

    index = _made_up_index(options.examples)
    manifest = _made_up_manifest(options, index_digest(index)).to_json().encode()
    server = WebServer(_Files({"/set/manifest.json": manifest}, index))
    with tempfile.TemporaryDirectory() as cache:
        command = [
            sys.executable,
            __file__,
            *(sys.argv[1:] if argv is None else argv),
            "--url",
            f"{server.url}/set",
        ]
        environment = {**os.environ, "DIRVAE_CACHE": cache, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    server.close()
    total = options.shards * options.examples
    print(f"{total:,} examples in {options.shards:,} shards, {total * EXAMPLE_BYTES / 1e12:,.0f} TB; "
          f"a manifest of {len(manifest) / 1e6:.1f} MB; {options.ranks:,} ranks")  # fmt: skip
    for what, value in json.loads(done.stdout).items():
        print(f"   {what:<72}{value}")
    print(f"   (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)")
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Opening and resuming at a large scale.")
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--examples", type=int, default=10_000, help="in each shard")
    parser.add_argument("--ranks", type=int, default=1024)
    parser.add_argument("--ranks-per-node", type=int, default=8)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


class _Files(dict[str, bytes]):
    """Files of which the indexes are made up when they are asked for."""

    def __init__(self, files: dict[str, bytes], index: bytes) -> None:
        super().__init__(files)
        self._index = index

    def __contains__(self, path: object) -> bool:
        return super().__contains__(path) or str(path).endswith(".index.npy")

    def __missing__(self, path: str) -> bytes:
        return self._index


def _made_up_index(num: int) -> bytes:
    rows = np.zeros(num, INDEX_DTYPE)
    rows["offset"] = np.arange(num) * EXAMPLE_BYTES
    rows["length"], rows["data_offset"] = EXAMPLE_BYTES, rows["offset"] + 512
    rows["data_length"], rows["frames"], rows["table_offset"] = EXAMPLE_BYTES - 512, 1, -1
    rows["version"] = INDEX_VERSION
    return index_bytes(rows)


def _made_up_manifest(options: argparse.Namespace, index: str) -> Manifest:
    num = options.shards
    columns = ShardColumns(
        name=[f"image-{number:06d}.tar" for number in range(num)],
        examples=[options.examples] * num,
        bytes=[options.examples * EXAMPLE_BYTES + 1024] * num,
        sha256=[f"{number:064x}" for number in range(num)],
        index_hash=[index] * num,
    )
    return Manifest("image", columns)


def _measured(options: argparse.Namespace) -> dict[str, str]:
    found: dict[str, str] = {}
    before = _peak_megabytes()
    reading = RemoteReading(cache_bytes=1 << 60)
    seconds, source = _timed(lambda: open_source(options.url, remote=reading))
    assert isinstance(source, ShardSource)
    found["opened, its manifest fetched and checked"] = f"{seconds:.2f} s"
    found["peak memory of that, besides the interpreter and NumPy"] = f"{_peak_megabytes() - before:,.0f} MB"
    seconds, _ = _timed(lambda: source._shards.get(options.shards // 2, source._open))
    found["a shard opened: its index, in one request"] = f"{1000 * seconds:.0f} ms"
    orders: dict[str, dict[str, Any]] = {
        f"windows of {WINDOW} shards, groups={options.ranks}": {"shuffle_shards": WINDOW, "groups": options.ranks},
        f"windows of {WINDOW} shards, one group": {"shuffle_shards": WINDOW},
        f"fully shuffled, groups={options.ranks}": {"groups": options.ranks},
        "fully shuffled, one group": {},
    }
    for what, order in orders.items():
        for task, value in _of_an_order(source, options, order).items():
            found[f"{what}: {task}" if task else "a state as JSON"] = value
    share = _share_of_a_node(source, options)
    part = share * options.ranks / options.ranks_per_node
    found[f"read by a node of {options.ranks_per_node} ranks in an epoch, groups={options.ranks}"] = (
        f"{share:.4%} of the set, {part:.3f} × its part"
    )
    found["peak memory in the end, besides the interpreter and NumPy"] = f"{_peak_megabytes() - before:,.0f} MB"
    return found


def _of_an_order(source: ShardSource, options: argparse.Namespace, order: dict[str, Any]) -> dict[str, str]:
    """What it costs to begin in an order, to resume in the middle, and to take a step."""
    rank, found = options.ranks // 3, dict[str, str]()
    seconds, iterator = _timed(lambda: _iterator(source, options, rank, order))
    found["iterator made"] = f"{1000 * seconds:.1f} ms"
    found["its first batch planned"] = f"{1000 * _timed(lambda: next(iterator.jobs()))[0]:.0f} ms"
    position = len(source) // 7 // iterator.global_batch * iterator.global_batch
    state = json.dumps({**iterator.state_dict(), "position": position})
    again = _iterator(source, options, rank, order)
    seconds, _ = _timed(lambda: again.load_state_dict(json.loads(state)))
    jobs = again.jobs()
    found["resumed at a seventh, and planned"] = f"{1000 * (seconds + _timed(lambda: next(jobs))[0]):.0f} ms"
    found["a step"] = f"{1e6 * _timed(lambda: [next(jobs) for _ in range(STEPS)])[0] / STEPS:,.0f} µs"
    return {**found, "": f"{len(state)} bytes"}


def _iterator(source: ShardSource, options: argparse.Namespace, rank: int, order: dict[str, Any]) -> DataIterator:
    split = {"rank": rank, "world_size": options.ranks, "batch_size": BATCH_SIZE}
    return DataIterator(source, _length, shuffle=True, **{**split, **order})


def _share_of_a_node(source: ShardSource, options: argparse.Namespace) -> float:
    """The share of the set that a node in the middle reads: the shards of its ranks, which each read all of theirs."""
    touched: set[int] = set()
    stops, num = np.cumsum(source.shard_counts), len(source)
    first = options.ranks // 2 // options.ranks_per_node * options.ranks_per_node
    for rank in range(first, first + options.ranks_per_node):
        iterator = _iterator(source, options, rank, {"shuffle_shards": WINDOW, "groups": options.ranks})
        order = iterator.stream.order(0, iterator._prefix)
        positions = np.arange(rank, num, options.ranks)[::SAMPLED]  # of group `rank`
        touched.update(np.unique(np.searchsorted(stops, order(positions), side="right")).tolist())
    return len(touched) / len(stops)


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds, which other programs change little, and what came of it."""
    began = time.process_time()
    value = call()
    return time.process_time() - began, value


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e3 if sys.platform != "darwin" else 1e6)


def _length(example: Example, rng: np.random.Generator) -> np.ndarray:
    return np.array(len(example.media))


if __name__ == "__main__":
    raise SystemExit(main())
