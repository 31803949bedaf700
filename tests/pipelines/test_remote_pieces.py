"""Memory that is used again gives nobody wrong bytes, and nothing is asked for twice by threads that begin together."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import make_shards, open_source
from pipelines.samples.scenes import make_sample_data
from pipelines.storage.remote.http_client import PIECE_BYTES
from pipelines.storage.remote.remote_store import RemoteStore
from tests.fault_proxy import Fault, FaultProxy, by_path
from tests.web_server import WebServer

CONTENT = random.Random(0).randbytes(3 * PIECE_BYTES + 12_345)


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer({"/a.bin": CONTENT})
    yield server
    server.close()


def test_bytes_that_are_kept_stay_as_they_were(web: WebServer) -> None:
    kept: list[bytes] = []
    RemoteStore(web.url).download(f"{web.url}/a.bin", kept.append)
    assert b"".join(kept) == CONTENT


def test_views_are_right_while_they_are_written(web: WebServer) -> None:
    copies = bytearray()
    store = RemoteStore(web.url)
    for _ in range(2):  # the second time with the memory of the first
        copies.clear()
        store.download(f"{web.url}/a.bin", copies.extend, copied=False)
        assert bytes(copies) == CONTENT


def test_what_came_before_a_break_is_not_fetched_again(web: WebServer) -> None:
    proxy = FaultProxy(web.port, by_path({"a.bin": Fault("truncate", at=0.6)}, times=1))
    store = RemoteStore(proxy.url)
    assert store.read_whole(f"{proxy.url}/a.bin") == CONTENT
    proxy.close()
    counts = store.counters.now()
    assert (counts.requests, counts.bytes) == (2, len(CONTENT))


def test_threads_that_open_a_shard_together_ask_for_its_index_once(tmp_path: Path, web: WebServer) -> None:
    make_sample_data(tmp_path / "pictures", num=16, size=32)
    make_shards(tmp_path / "pictures", tmp_path / "set", workers=0)
    web.files.update({f"/set/{path.name}": path.read_bytes() for path in (tmp_path / "set").iterdir()})
    source = open_source(f"{web.url}/set")
    ready, found = threading.Barrier(8), list[int]()

    def read(index: int) -> None:
        ready.wait()
        found.append(len(source[index].media))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    source.close()
    assert len(found) == 8
    assert sum(path.endswith(".index.npy") for _, path, _ in web.asked) == 1
