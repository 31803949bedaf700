"""Reading remote shards: speed, CPU time and number of requests, compared with webdataset and litData.

    python benchmarks/remote.py [--folder PHOTOGRAPHS] [--size 96] [--seconds 3] [--runs 2] [--parts abcde]

    a. from nginx into the cache, MB/s and CPU seconds per GB      d. requests for a set of 1,000 shards
    b. the share of a slow link, and our count of waiting          e. 64 ranks; 8 processes that share a cache
    c. examples per second beside webdataset and litData

All servers are processes of this machine and take their share of it. A part whose programs are absent is left out,
with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.remote_parts import beside_peers, first_batch, into_cache, many_ranks, order_costs, slow_link
from benchmarks.remote_parts.servers import AbsentError, moto, nginx
from benchmarks.remote_parts.sets import make_set, make_small_shards

ROOT = Path(__file__).resolve().parent.parent
PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "coco" / "images"
SMALL_SHARDS = 1000


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    options = _parse(argv)
    with contextlib.ExitStack() as stack:
        memory = Path("/dev/shm")
        has_memory = memory.is_dir() and shutil.disk_usage(memory).free > 4 << 30
        place = memory if has_memory else None  # the servers' files and the caches: no disk is measured
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="remote-", dir=place)))
        files = scratch / "files"
        files.mkdir()
        make_set(options.folder, scratch / "links", files / "set", options.size * 1_000_000)
        try:
            server = stack.enter_context(nginx(files, scratch / "nginx"))
        except AbsentError as error:
            print(f"All parts are left out: {error}")
            return 0
        bucket = None
        with contextlib.suppress(AbsentError):
            bucket = stack.enter_context(moto(scratch)) if set(options.parts) & set("cd") else None
        peers = beside_peers.find_litdata(options.litdata_python)
        names = sorted(path.name for path in (files / "set").glob("*.tar"))

        def requests() -> None:
            make_small_shards(scratch / "small pictures", files / "small", SMALL_SHARDS)
            first_batch.measure(server, files / "small", scratch, bucket, peers)
            order_costs.measure(server, scratch)

        parts: dict[str, Callable[[], None]] = {
            "a": lambda: into_cache.measure(server, names, scratch),
            "b": lambda: slow_link.measure(server, files, scratch, options.seconds),
            "c": lambda: beside_peers.measure(server, files / "set", scratch, options.runs, bucket, peers),
            "d": requests,
            "e": lambda: many_ranks.measure(server, scratch),
        }
        for letter in options.parts:
            began = time.perf_counter()
            try:
                parts[letter]()
            except AbsentError as error:
                print(f"{letter}. left out: {error}")
            load, seconds = os.getloadavg()[0], time.perf_counter() - began
            print(f"   ({seconds:.0f} seconds, load {load:.1f} on {os.cpu_count()} cores)", flush=True)
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Reading remote shards.")
    parser.add_argument("--folder", type=Path, default=PHOTOGRAPHS, help="JPEGs; without any, pictures are drawn")
    parser.add_argument("--size", type=int, default=96, help="megabytes of shards that are read")
    parser.add_argument("--seconds", type=float, default=3.0, help="reading time over the slow link, per row")
    parser.add_argument("--runs", type=int, default=2, help="interleaved runs of each loader")
    parser.add_argument("--parts", default="abcde", help="the letters of the parts to run")
    parser.add_argument("--litdata-python", help="a Python that has litData")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
