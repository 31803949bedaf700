"""Faults between a store and its server: what is delivered is right, and what cannot be delivered is named in time."""

from __future__ import annotations

import contextlib
import hashlib
import random
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipelines.errors import SourceError
from pipelines.storage.remote.remote_store import RemoteOptions, RemoteStore
from pipelines.storage.remote.retrying import RetryPolicy
from tests.fault_proxy import Fault, FaultProxy, Faults, by_chance, by_path
from tests.web_server import WebServer

from .moto_server import aws_settings, run_moto

QUICK = RetryPolicy(attempts=6, seconds=4, first_wait=0.01, longest_wait=0.05, stall_seconds=0.3, connect_seconds=2)
BODY = random.Random(1).randbytes(3_000_000)
Opened = tuple[RemoteStore, str, FaultProxy]
"""A store, the URL of its folder, and the proxy it goes through."""
Open = Callable[..., Opened]


@pytest.fixture(params=["http", "s3"])
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    """`opened(files, faults, policy=QUICK)`: by Python's http, or by obstore, which asks a web server alike."""
    if request.param == "s3":
        pytest.importorskip("obstore")
    made: list[WebServer | FaultProxy] = []

    def make(files: dict[str, bytes], faults: Faults | None, policy: RetryPolicy = QUICK) -> Opened:
        server = WebServer({f"/bucket/{name}": content for name, content in files.items()})
        proxy = FaultProxy(server.port, faults)
        made.extend((proxy, server))
        settings = {"endpoint": proxy.url, "skip_signature": True, "region": "us-east-1"}
        options = RemoteOptions(policy, settings if request.param == "s3" else {})
        root = "s3://bucket" if request.param == "s3" else f"{proxy.url}/bucket"
        return RemoteStore(root, options), root, proxy

    yield make
    for one in made:
        one.close()


def equal(found: bytes, expected: bytes) -> bool:
    """Without a page of differences."""
    return found == expected


@pytest.mark.parametrize(
    ("fault", "retries"),
    [
        (Fault("503"), 1),
        (Fault("429"), 1),
        (Fault("reset"), 1),
        (Fault("reset", at=0.0), 1),
        (Fault("truncate"), 1),
        (Fault("truncate", at=0.0), 1),
        (Fault("stall", seconds=1.0), 1),
        (Fault("stall", seconds=0.1), 0),
        (Fault("ignore range"), 1),
    ],
    ids=lambda value: f"{value.kind} {value.at} {value.seconds}" if isinstance(value, Fault) else str(value),
)
def test_one_fault_is_made_good_by_one_more_request(opened: Open, fault: Fault, retries: int) -> None:
    store, root, proxy = opened({"a.bin": BODY, "b.bin": BODY}, by_path({".bin": fault}, times=1))
    known = store.with_sizes({f"{root}/a.bin": len(BODY)})
    assert equal(known.open(f"{root}/a.bin").read(1000, 2_500_000), BODY[1000:2_501_000])
    assert (proxy.counts["GET"], store.counters.now().retries) == (1 + retries, retries)
    assert proxy.counts[fault.kind] == 1
    pieces: list[bytes] = []
    whole = 0 if fault.kind == "ignore range" else retries
    assert store.download(f"{root}/b.bin", pieces.append, sha256=hashlib.sha256(BODY).hexdigest()) == len(BODY)
    assert equal(b"".join(pieces), BODY)
    assert store.counters.now().retries == retries + whole


@pytest.mark.parametrize("kind", ["reset", "truncate"])
def test_a_body_that_breaks_is_continued_and_not_begun_again(opened: Open, kind: str) -> None:
    store, root, _ = opened({"a.bin": BODY}, by_path({"a.bin": Fault(kind, at=0.8)}, times=1))
    assert equal(store.read_whole(f"{root}/a.bin"), BODY)
    counts = store.counters.now()
    assert (counts.requests, counts.retries) == (2, 1)
    assert counts.bytes < 1.1 * len(BODY) + (256 << 10)


def test_flipped_bits_are_noticed_where_a_checksum_is_given(opened: Open) -> None:
    store, root, _ = opened({"a.bin": BODY, "b.bin": BODY}, by_path({".bin": Fault("flip")}, times=1))
    name, part = f"{root}/a.bin", BODY[1000:2_000_000]
    assert store.with_sizes({name: len(BODY)}).open(name).read(1000, len(part), crc32=zlib.crc32(part)) == part
    pieces: list[bytes] = []
    digest = hashlib.sha256(BODY).hexdigest()
    assert store.download(f"{root}/b.bin", pieces.append, sha256=digest, restart=pieces.clear) == len(BODY)
    assert equal(b"".join(pieces), BODY)
    assert store.counters.now().retries == 2


@pytest.mark.parametrize("kind", ["503", "reset", "truncate", "flip", "stall", "ignore range"])
def test_an_object_that_always_breaks_is_named_in_time_and_others_are_read(opened: Open, kind: str) -> None:
    fault = Fault(kind, at=0.0, seconds=20.0 if kind == "stall" else 0.0)
    files = {"good.bin": BODY[:500_000], "bad.bin": BODY[:500_000]}
    waits = {"first_wait": 0.01, "longest_wait": 0.2, "stall_seconds": 0.3}
    policy = RetryPolicy(attempts=20, seconds=1, slowest_bytes_per_second=1e7, **waits)
    store, root, _ = opened(files, by_path({"bad.bin": fault}), policy)
    known = store.with_sizes({f"{root}/{name}": 500_000 for name in files})

    def read(name: str) -> bytes:
        expected = files[name][1000:300_000]
        return known.open(f"{root}/{name}").read(1000, 299_000, crc32=zlib.crc32(expected))

    began = time.monotonic()
    if kind == "ignore range":  # small enough to be read whole
        assert equal(read("bad.bin"), files["bad.bin"][1000:300_000])
        return
    with ThreadPoolExecutor(2) as pool:
        bad = pool.submit(read, "bad.bin")
        for _ in range(5):
            assert equal(read("good.bin"), files["good.bin"][1000:300_000])
        with pytest.raises(SourceError, match=r"bad\.bin: given up .*: ") as told:
            bad.result()
    assert time.monotonic() - began < policy.seconds_for(299_000) + 1.5
    assert len(str(told.value).splitlines()) == 1


def test_bytes_that_are_altered_where_they_lie_are_given_up_after_two_tries(opened: Open) -> None:
    store, root, proxy = opened({"a": BODY}, None)
    blob = store.with_sizes({f"{root}/a": len(BODY)}).open(f"{root}/a")
    with pytest.raises(
        SourceError,
        match=r"given up after two tries .*: the 100 bytes from 1,000 on fail their checksum\. Copy it there",
    ):
        blob.read(1000, 100, crc32=zlib.crc32(BODY[1000:1100]) ^ 1)
    assert proxy.requests == 2


def test_what_the_server_asks_to_wait_is_waited_where_it_is_seen(opened: Open) -> None:
    store, root, _ = opened({"a.bin": BODY}, by_path({"a.bin": Fault("503", seconds=1.0)}, times=1))
    began = time.monotonic()
    assert equal(store.read_whole(f"{root}/a.bin"), BODY)
    assert (time.monotonic() - began >= 1.0) is root.startswith("http")  # obstore hides the header
    assert (store.counters.now().seconds_waiting >= 1.0) is root.startswith("http")


def test_a_file_that_is_replaced_between_two_reads_is_refused(opened: Open) -> None:
    files = {"a.bin": BODY}
    store, root, _ = opened(files, None)
    blob = store.open(f"{root}/a.bin")
    assert equal(blob.read(0, 10_000), BODY[:10_000])
    again, _, _ = opened({"a.bin": bytes(len(BODY))}, None)
    blob.store = again  # as if the server had another file now
    blob.name = f"{again.root_url}/a.bin"
    with pytest.raises(SourceError, match="was changed while it was read"):
        blob.read(20_000, 10_000)


@pytest.mark.heavy
def test_signed_requests_to_s3_are_made_again_with_a_new_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    with contextlib.contextmanager(run_moto)() as (address, client):
        check_signed_requests(address, client, monkeypatch)


def check_signed_requests(address: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client.create_bucket(Bucket="faulty")
    for number in range(8):
        client.put_object(Bucket="faulty", Key=f"{number}.bin", Body=BODY[: 300_000 + number])
    proxy = FaultProxy(int(address.rpartition(":")[2]), by_chance(5, {"503": 0.1, "reset": 0.1, "truncate": 0.1}))
    for name, value in aws_settings(proxy.url).items():
        monkeypatch.setenv(name, value)
    store = RemoteStore("s3://faulty", RemoteOptions(QUICK))
    names = store.list()
    assert [size for _, size in names] == [300_000 + number for number in range(8)]
    for name, size in names * 3:
        assert equal(store.read_whole(name), BODY[:size])
    assert sum(proxy.counts[kind] for kind in ("503", "reset", "truncate")) == store.counters.now().retries > 0
    proxy.close()


EACH = {"503": 0.01, "reset": 0.01, "truncate": 0.01, "flip": 0.01, "stall": 0.01}


def read_under_faults(opened: Open, num_reads: int, stall: float, policy: RetryPolicy) -> None:
    """Reads of ranges and whole files by eight threads: each right, and not many more requests than reads."""
    files = {f"{number:02d}.bin": random.Random(number).randbytes(300_000 + 1000 * number) for number in range(20)}
    store, root, proxy = opened(files, by_chance(3, EACH, seconds=stall), policy)
    known = store.with_sizes({f"{root}/{name}": len(content) for name, content in files.items()})
    blobs = {name: known.open(f"{root}/{name}") for name in files}

    def read(number: int) -> bool:
        dice = random.Random(number)
        name = dice.choice(sorted(files))
        content = files[name]
        if number % 4 == 0:
            pieces: list[bytes] = []
            digest = hashlib.sha256(content).hexdigest()
            known.download(f"{root}/{name}", pieces.append, sha256=digest, restart=pieces.clear)
            return b"".join(pieces) == content
        start = dice.randrange(len(content) - 5000)
        part = content[start : start + dice.randrange(4097, 200_000)]
        return blobs[name].read(start, len(part), crc32=zlib.crc32(part)) == part

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(num_reads)))
    kinds = {kind: proxy.counts[kind] for kind in EACH}
    print(f"{proxy.requests} requests for {num_reads} reads, {store.counters.now()}, {kinds}")
    assert min(kinds.values()) >= num_reads // 400
    assert proxy.requests <= 1.3 * num_reads


def test_many_reads_under_all_faults_are_right(opened: Open) -> None:
    policy = RetryPolicy(seconds=10, first_wait=0.01, longest_wait=0.1, stall_seconds=0.4)
    read_under_faults(opened, 400, 1.0, policy)


@pytest.mark.heavy
def test_two_thousand_reads_under_all_faults_are_right(opened: Open) -> None:
    read_under_faults(opened, 2000, 5.0, RetryPolicy(stall_seconds=2.0))
