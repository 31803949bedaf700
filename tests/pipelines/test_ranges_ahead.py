"""Examples are fetched ahead by as few requests as their places allow, once each, and never more than is asked for."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import DataIterator, ShardSource, SourceError, make_shards, open_source
from pipelines.storage.index import index_digest, index_path
from pipelines.storage.manifest import MANIFEST_NAME, Manifest
from pipelines.storage.remote.ranges_ahead import RangesAhead
from pipelines.storage.remote.reading import RemoteReading
from pipelines.storage.remote.remote_store import RemoteOptions
from pipelines.storage.remote.retrying import RetryPolicy
from tests.fault_proxy import FaultProxy
from tests.web_server import WebServer

from .conftest import png
from .recordings import write_tar
from .shard_files import write_manifest

SIZE = 1000
QUICK = RemoteReading(fetch="ranges", options=RemoteOptions(RetryPolicy(attempts=2, first_wait=0.01)))


class Reads:
    """Rows of 1,000 bytes that say which they are; `asked` holds what was read together."""

    def __init__(self, **settings: Any) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self.broken: set[tuple[int, int]] = set()
        self.lock = threading.Lock()
        base = {"row_bytes": SIZE, "read_ahead_bytes": 100 * SIZE, "threads": 3}
        self.ahead = RangesAhead(self.read, **{**base, **settings})

    def read(self, shard: int, first: int, stop: int) -> list[bytes | None]:
        with self.lock:
            self.asked.append((shard, first, stop))
        rows = range(first, stop)
        if any((shard, row) in self.broken for row in rows):
            raise SourceError("broken.")
        return [f"{shard}/{row}".encode() for row in rows]


@pytest.fixture
def reads() -> Iterator[Reads]:
    made = Reads()
    yield made
    made.ahead.close()


def test_rows_in_a_row_are_one_request_and_others_are_apart(reads: Reads) -> None:
    rows = [(0, 3), (0, 4), (1, 0), (0, 5), (0, 9), (1, 1), (0, 8)]
    reads.ahead.expect([shard for shard, _ in rows], [row for _, row in rows])
    for shard, row in rows:
        assert reads.ahead.take(shard, row) == f"{shard}/{row}".encode()
        assert reads.ahead.take(shard, row) is None, "once"
    assert sorted(reads.asked) == [(0, 3, 6), (0, 8, 9), (0, 9, 10), (1, 0, 2)]


def test_a_stretch_is_fetched_once_for_all_threads_that_wait_for_it(reads: Reads) -> None:
    reads.ahead.expect([0] * 40, range(40))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: reads.ahead.take(0, row), range(40)))
    assert found == [f"0/{row}".encode() for row in range(40)]
    assert sum(stop - first for _, first, stop in reads.asked) == 40


def test_no_more_is_fetched_ahead_than_is_allowed_and_nothing_after_it_was_forgotten(reads: Reads) -> None:
    shuffled = random.Random(1).sample(range(0, 2000, 2), 1000)
    reads.ahead.expect([0] * 1000, shuffled)
    time.sleep(0.2)
    assert 90 <= len(reads.asked) <= 100
    reads.ahead.clear()
    num = len(reads.asked)
    assert reads.ahead.take(0, shuffled[0]) is None
    time.sleep(0.1)
    assert len(reads.asked) <= num + 3  # what was under way


def test_a_stretch_that_cannot_be_fetched_is_left_to_single_reads(reads: Reads) -> None:
    reads.broken.add((0, 2))
    reads.ahead.expect([0] * 4 + [1], [0, 1, 2, 3, 7])
    assert [reads.ahead.take(0, row) for row in range(4)] == [None] * 4
    assert reads.ahead.take(1, 7) == b"1/7"


def test_requests_grow_and_rows_are_expected_once() -> None:
    reads = Reads(row_bytes=64 << 10, read_ahead_bytes=1 << 30, threads=1)
    reads.ahead.expect([0] * 400, range(400))
    reads.ahead.expect([0] * 400, range(400))
    for row in range(400):
        assert reads.ahead.take(0, row) is not None
    sizes = [stop - first for _, first, stop in reads.asked]
    assert sizes[0] == 4
    assert max(sizes) == 64
    assert sum(sizes) == 400
    reads.ahead.close()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Four shards of 20 examples of 20 KB with a manifest."""
    for shard in range(4):
        files = {f"{shard}-{row:02d}.bin": random.Random(20 * shard + row).randbytes(20_000) for row in range(20)}
        write_tar(tmp_path / f"s-{shard}.tar", files)
    write_manifest(tmp_path)
    manifest = Manifest.load(tmp_path)
    tars = sorted(tmp_path.glob("*.tar"))
    manifest.shards.index_hash[:] = [index_digest(index_path(tar).read_bytes()) for tar in tars]
    (tmp_path / MANIFEST_NAME).write_text(manifest.to_json())
    return tmp_path


def sums(source: Any, **settings: Any) -> list[bytes]:
    iterator = DataIterator(source, lambda example, rng: np.frombuffer(example.media, np.uint8).copy(), **settings)
    return [batch.data.tobytes() for batch in iterator]


@pytest.mark.parametrize("order", [{}, {"shuffle": True}, {"groups": 4}], ids=str)
def test_what_is_asked_for_is_fetched_once_and_nothing_else(order: dict[str, Any], shards: Path) -> None:
    server = WebServer({f"/s/{path.name}": path.read_bytes() for path in shards.iterdir()})
    with contextlib.closing(open_source(f"{server.url}/s", remote=RemoteReading(fetch="ranges"))) as source:
        assert isinstance(source, ShardSource)
        assert sums(source, batch_size=8, threads=2, **order) == sums(shards, batch_size=8, **order)
        counts = source.fetch_counts
    ranges = [wanted for _, path, wanted in server.asked if path.endswith(".tar") and wanted]
    fetched = sum(int(stop) - int(start) + 1 for start, stop in (one[6:].split("-") for one in ranges))
    indexes = sum(path.stat().st_size for path in shards.iterdir() if path.suffix != ".tar")
    assert fetched == 80 * (20_480 + 512)
    assert counts["fetched_bytes"] - fetched <= indexes + 100
    assert len(ranges) <= 80 if "shuffle" in order else len(ranges) <= 12
    server.close()


def test_a_wrong_byte_in_a_merged_request_is_noticed(shards: Path) -> None:
    (shards / "files").mkdir()
    for number in range(12):
        (shards / "files" / f"{number:02d}.png").write_bytes(png(number))
    make_shards(shards / "files", shards / "packed", workers=0, shuffle=None)
    server = WebServer({f"/s/{path.name}": path.read_bytes() for path in (shards / "packed").iterdir()})
    name = next(path for path in server.files if path.endswith(".tar"))
    content = bytearray(server.files[name])
    content[content.rindex(b"IDAT") + 9] ^= 1
    server.files[name] = bytes(content)
    with contextlib.closing(open_source(f"{server.url}/s", remote=QUICK)) as source:
        iterator = DataIterator(
            source, lambda example, rng: len(example.media), batch_size=4, on_error="substitute"
        )
        assert [batch.substituted.sum() for batch in iterator if batch.substituted is not None] == [0, 0, 1]
    server.close()


def serve_slowly(folder: str) -> None:
    """A server in a process of its own, 20 ms away by 50 MB/s, until its input is closed; prints its address."""
    server = WebServer({f"/s/{path.name}": path.read_bytes() for path in Path(folder).iterdir()})
    proxy = FaultProxy(server.port, latency_seconds=0.02, bytes_per_second=50e6)
    print(proxy.url, flush=True)
    sys.stdin.read()


@pytest.mark.heavy
@pytest.mark.parametrize("order", [{}, {"shuffle": True}], ids=str)
def test_a_slow_link_is_used_to_85_percent(order: dict[str, Any], tmp_path: Path) -> None:
    for shard in range(12):
        write_tar(tmp_path / f"{shard}.tar", {f"{shard}-{row}.bin": bytes(1_000_000) for row in range(20)})
    write_manifest(tmp_path)
    code, root = f"from {__name__} import serve_slowly; serve_slowly({str(tmp_path)!r})", Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        url = child.stdout.readline().strip()
        with contextlib.closing(open_source(f"{url}/s", remote=RemoteReading(fetch="ranges"))) as source:
            began = time.perf_counter()
            sums(source, batch_size=4, threads=2, **order)
            share = 240e6 / 50e6 / (time.perf_counter() - began)
        child.stdin.close()
    print(f"{share:.1%} of the link")
    assert share >= 0.85
