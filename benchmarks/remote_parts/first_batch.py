"""d. How many requests it takes to open a set of 1,000 shards, and to read its first batch."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np

from benchmarks.remote_parts.beside_peers import Peers, pack_for_litdata, run_reader, upload
from benchmarks.remote_parts.servers import AbsentError, Moto, Nginx
from pipelines import DataIterator, Example, open_source
from pipelines.storage.remote.reading import RemoteReading

__all__ = ["measure"]

BATCH_SIZE = 64
LITDATA_CHUNK_BYTES = 6000
"""A few pictures: moto takes long to store a thousand objects, and litData asks alike for each."""


def measure(server: Nginx, shards: Path, scratch: Path, bucket: Moto | None, peers: Peers) -> None:
    """Print requests, as the servers counted them."""
    num = len(list(shards.glob("*.tar")))
    print(f"d. Requests for a set of {num:,} shards of one or two pictures, batches of {BATCH_SIZE}")
    for what, order in {"as stored": {"shuffle": False}, "fully shuffled": {"shuffle": True}}.items():
        shutil.rmtree(scratch / "first", ignore_errors=True)
        os.environ["DIRVAE_CACHE"] = str(scratch / "first")
        server.forget()
        source = open_source(f"{server.url}/{shards.name}", remote=RemoteReading(read_ahead_bytes=0))
        opening = len(server.asked())
        iterator = DataIterator(source, _length, batch_size=BATCH_SIZE, threads=1, prefetch_bytes=1, **order)
        made = len(server.asked())
        server.forget()
        loop = iter(iterator)
        next(loop)
        iterator.close()
        asked = [path for path, _ in server.asked()]
        touched = {path.removesuffix(".index.npy") for path in asked}
        print(f"   ours, {what:<18}{opening:>6} to open, {made - opening} more for an iterator; "
              f"{len(asked) / len(touched):.2f} per shard of the first batches ({len(touched)} shards)")  # fmt: skip
    names = sorted(path.name for path in shards.glob("*.tar"))
    cache = scratch / "first peers"
    cache.mkdir()
    (cache / "names.json").write_text(json.dumps(names))
    server.forget()
    try:
        run_reader(sys.executable, "webdataset", f"{server.url}/{shards.name}", "raw", str(cache), most=BATCH_SIZE)
        asked = [path for path, _ in server.asked()]
        print(
            f"   webdataset            0 to open (all names are known before); {len(asked)} up to its first batches"
        )
    except AbsentError as error:
        print(f"   left out: {error}")
    if bucket is None or peers.litdata_python is None:
        print(f"   left out: litData ({peers.reason or 'moto is absent.'})")
        return
    pack_for_litdata(peers, shards, scratch / "small litdata", chunk_bytes=LITDATA_CHUNK_BYTES)
    upload(scratch / "small litdata", bucket, "small")
    bucket.forget()
    try:
        run_reader(
            peers.litdata_python,
            "litdata",
            "s3://small/set",
            "raw",
            str(scratch / "first litdata"),
            endpoint=bucket.url,
            most=BATCH_SIZE,
        )
        print(f"   litData               {sum(bucket.asked().values())} up to its first batches, "
              f"{len(list((scratch / 'small litdata').glob('*.bin'))):,} chunks")  # fmt: skip
    except AbsentError as error:
        print(f"   left out: {error}")


def _length(example: Example, rng: np.random.Generator) -> np.ndarray:
    return np.array(len(example.media))
