"""b. What share of a slow link is used, and whether our own count of waiting is right."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.remote_parts.servers import Nginx, find_program, slow_link
from pipelines import DataIterator, Example, make_shards, open_source
from pipelines.storage.remote.reading import RemoteReading

__all__ = ["measure"]

LATENCY_SECONDS, LINK_BYTES_PER_SECOND = 0.02, 50e6
LARGE_BYTES = 1_200_000
WORK_SECONDS = 0.02


def measure(server: Nginx, files: Path, scratch: Path, seconds: float) -> None:
    """Print the shares, as stored and shuffled: of what the link could carry while the consumer does nothing."""
    _make_large(files / "large", int(LINK_BYTES_PER_SECOND * seconds))
    print(
        f"b. A link of {LINK_BYTES_PER_SECOND / 1e6:.0f} MB/s, {1000 * LATENCY_SECONDS:.0f} ms before each answer"
    )
    rows: dict[str, tuple[str, dict[str, Any]]] = {
        "whole shards, as stored": ("whole", {"shuffle": False}),
        "whole shards, shuffled in windows of 2": ("whole", {"shuffle": True, "shuffle_shards": 2}),
        "ranges of 1.2 MB, as stored, 4 threads": ("ranges", {"shuffle": False}),
        "ranges of 1.2 MB, fully shuffled, 4 threads": ("ranges", {"shuffle": True}),
    }
    with slow_link(server.port, latency_seconds=LATENCY_SECONDS, bytes_per_second=LINK_BYTES_PER_SECOND) as address:
        print(
            f"   {'curl, shard after shard by 4 processes':<46}{_by_curl(address, files / 'large'):>6.1%} of the link"
        )
    for what, (fetch, order) in rows.items():
        with slow_link(
            server.port, latency_seconds=LATENCY_SECONDS, bytes_per_second=LINK_BYTES_PER_SECOND
        ) as address:
            share, _, _ = _read(f"{address}/large", scratch / "slow", fetch, 0.0, order)
        print(f"   {what:<46}{share:>6.1%} of the link")
    with slow_link(server.port, latency_seconds=LATENCY_SECONDS, bytes_per_second=LINK_BYTES_PER_SECOND) as address:
        _, ours, timed = _read(f"{address}/large", scratch / "slow", "whole", WORK_SECONDS, {"shuffle": False})
    print(f"   waiting, by our count and by a timer{ours:>16.1%} and {timed:.1%}")


def _by_curl(address: str, folder: Path) -> float:
    """The share of the link that programs get which do nothing with the bytes: less than all on a busy machine."""
    curl, tars = find_program("curl"), sorted(folder.glob("*.tar"))
    lists = [[f"{address}/{folder.name}/{tar.name}" for tar in tars[first::4]] for first in range(4)]
    began = time.perf_counter()
    running = [subprocess.Popen([curl, "-s", *urls], stdout=subprocess.DEVNULL) for urls in lists if urls]
    for process in running:
        process.wait()
    seconds = time.perf_counter() - began
    return sum(tar.stat().st_size for tar in tars) / seconds / LINK_BYTES_PER_SECOND


def _read(url: str, cache: Path, fetch: Any, work: float, order: dict[str, Any]) -> tuple[float, float, float]:
    """The share of the link, the share of waiting by our count, and by a timer around every batch."""
    shutil.rmtree(cache, ignore_errors=True)
    os.environ["DIRVAE_CACHE"] = str(cache)
    source = open_source(url, remote=RemoteReading(fetch=fetch))
    batches = DataIterator(source, _length, batch_size=8, threads=4, **order)
    began = time.perf_counter()
    waited = worked = 0.0
    num_bytes, loop = 0, iter(batches)
    while True:
        asked = time.perf_counter()
        batch = next(loop, None)
        got = time.perf_counter()
        if batch is None:
            break
        waited += got - asked
        num_bytes += int(batch.data.sum())
        if work:
            time.sleep(work)
        worked += time.perf_counter() - got
    share = num_bytes / (time.perf_counter() - began) / LINK_BYTES_PER_SECOND
    ours = batches.stats.wait_share
    batches.close()
    return share, ours, waited / (waited + worked)


def _length(example: Example, rng: np.random.Generator) -> np.ndarray:
    return np.array(len(example.media))


def _make_large(folder: Path, num_bytes: int) -> None:
    """Shards of examples that are larger than a megabyte, with a manifest."""
    rng = np.random.default_rng(1)
    pictures = folder.parent.parent / "large pictures"
    pictures.mkdir()
    head = _smallest_jpeg()
    for number in range(max(16, num_bytes // LARGE_BYTES)):
        (pictures / f"{number:05d}.jpg").write_bytes(head + rng.bytes(LARGE_BYTES - len(head)))
    make_shards(pictures, folder, shard_bytes=8 << 20, workers=2)
    shutil.rmtree(pictures)


def _smallest_jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    return file.getvalue()
