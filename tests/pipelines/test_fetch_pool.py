"""Fetching ahead: in order, within its bytes, never in the way of what is needed now."""

from __future__ import annotations

import os
import pickle
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipelines.storage.remote.cache_errors import CacheFullError
from pipelines.storage.remote.fetch_pool import FetchPool, FetchRequest
from pipelines.storage.remote.leases import Lease
from pipelines.storage.remote.shard_cache import ShardCache

from .remote_contents import content_of, download_of, sha256_of


class Loan:
    """A lease that writes down its release."""

    def __init__(self, key: str, far: Far) -> None:
        self.key, self._far = key, far

    def release(self) -> None:
        with self._far.lock:
            self._far.lent.remove(self)


class Far:
    """Keys that are fetched when the test says so; by default at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.began: list[str] = []
        self.requests: dict[str, FetchRequest] = {}
        self.threads: dict[str, threading.Thread] = {}
        self.lent: list[Loan] = []
        self.gates: dict[str, threading.Event] = {}
        self.failures: dict[str, list[Exception]] = {}

    def gate(self, key: str) -> threading.Event:
        return self.gates.setdefault(key, threading.Event())

    def fetch(self, key: str, request: FetchRequest) -> Loan:
        with self.lock:
            self.began.append(key)
            self.requests[key], self.threads[key] = request, threading.current_thread()
        if key in self.gates:
            assert self.gates[key].wait(10)
        with self.lock:
            if self.failures.get(key):
                raise self.failures[key].pop(0)
            self.lent.append(Loan(key, self))
            return self.lent[-1]

    def size_of(self, key: str) -> int:
        return 10


def soon(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.002)
    return is_so()


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "fetch ahead"]


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
def make(far: Far) -> Iterator[Callable[..., FetchPool[str, Loan]]]:
    pools = []

    def build(**settings: Any) -> FetchPool[str, Loan]:
        pools.append(FetchPool(far.fetch, far.size_of, **{"read_ahead_bytes": 30, "threads": 1, **settings}))
        return pools[-1]

    yield build
    for gate in far.gates.values():
        gate.set()
    for pool in pools:
        pool.close()
    assert not ours()


Make = Callable[..., FetchPool[str, Loan]]


def test_nothing_lives_before_it_is_used_and_after_it_is_closed(make: Make, far: Far) -> None:
    pool = make()
    assert not ours()
    pool.expect("abc")
    assert len(ours()) == 1
    assert soon(lambda: len(far.lent) == 3)
    pool.close()
    assert not ours()
    assert not far.lent
    pool.get("a").release()  # it can be used again
    pool.expect("xy")
    assert soon(lambda: len(far.lent) == 2)


def test_it_reads_ahead_in_order_and_no_further_than_its_bytes(make: Make, far: Far) -> None:
    pool = make()
    pool.expect("abcde")
    assert soon(lambda: far.began == list("abc"))
    time.sleep(0.05)
    assert far.began == list("abc")
    lease = pool.get("a")
    assert lease.key == "a"
    assert soon(lambda: far.began == list("abcd"))
    pool.expect("f")
    assert [pool.get(key).key for key in "bcdef"] == list("bcdef")
    assert sorted(far.began) == list("abcdef")


def test_what_is_ready_costs_no_wait_and_what_is_not_is_counted(make: Make, far: Far) -> None:
    pool = make()
    pool.expect("a")
    assert soon(lambda: len(far.lent) == 1)
    pool.get("a")
    assert pool.stall_seconds == 0
    threading.Timer(0.1, far.gate("b").set).start()
    pool.get("b")
    assert 0.09 < pool.stall_seconds < 5


def test_what_is_asked_for_now_waits_for_no_queue(make: Make, far: Far) -> None:
    far.gate("a")
    pool = make()
    pool.expect("abcdef")
    assert soon(lambda: far.began == ["a"])
    assert pool.get("f").key == "f"  # while the only thread is at a
    assert far.threads["f"] is threading.current_thread()
    far.gate("a").set()
    assert pool.get("a").key == "a"
    assert [pool.get(key).key for key in "bcde"] == list("bcde")
    pool.expect("x")
    assert soon(lambda: "x" in far.began)
    assert sorted(far.began) == list("abcdefx")


def test_what_is_being_fetched_is_waited_for_and_not_fetched_twice(make: Make, far: Far) -> None:
    far.gate("a")
    pool = make()
    pool.expect("a")
    assert soon(lambda: far.began == ["a"])
    threading.Timer(0.05, far.gate("a").set).start()
    assert pool.get("a").key == "a"
    assert far.began == ["a"]


def test_what_becomes_ready_between_two_looks_is_not_fetched_again(
    make: Make, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.gate("a")
    pool = make()
    pool.expect("a")
    assert soon(lambda: far.began == ["a"])

    def take_too_early(key: str) -> None:
        far.gate(key).set()
        assert soon(lambda: bool(pool._live.ready))

    monkeypatch.setattr(pool, "take", take_too_early)
    pool.get("a").release()
    assert far.began == ["a"]
    assert not far.lent


def test_several_threads_that_ask_for_a_key_each_have_a_lease(make: Make, far: Far) -> None:
    pool = make()
    far.gate("a")
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(pool.get, "a") for _ in range(8)]
        assert soon(lambda: far.began == ["a"])
        time.sleep(0.05)
        assert far.began == ["a"]
        far.gate("a").set()
        leases = [future.result() for future in asked]
    assert len({id(lease) for lease in leases}) == 8


def test_what_failed_ahead_is_tried_once_more_when_it_is_needed(make: Make, far: Far) -> None:
    far.failures = {"a": [ConnectionError("first")], "b": [ConnectionError("first"), ConnectionError("second")]}
    pool = make()
    pool.expect("abc")
    assert soon(lambda: far.began == list("abc"))
    assert pool.get("a").key == "a"
    with pytest.raises(ConnectionError, match="second"):
        pool.get("b")
    assert far.began.count("b") == 2
    assert pool.get("c").key == "c"
    assert far.began.count("c") == 1


def test_a_new_order_ends_the_one_before(make: Make, far: Far) -> None:
    far.gate("c")
    pool = make()
    pool.expect("abcde")
    assert soon(lambda: far.began == list("abc"))
    pool.expect(None)
    assert far.requests["c"].is_cancelled
    assert not far.lent
    pool.expect("x")
    far.gate("c").set()
    assert soon(lambda: [lease.key for lease in far.lent] == ["x"])
    assert far.began == list("abcx")


def test_what_the_next_order_needs_too_goes_on(make: Make, far: Far) -> None:
    far.gate("a")
    pool = make()
    pool.expect("a")
    assert soon(lambda: far.began == ["a"])
    pool.expect(None)
    pool.expect("ab")
    far.gate("a").set()
    assert soon(lambda: [lease.key for lease in far.lent] == ["a", "b"])
    assert pool.get("a").key == "a"
    assert far.began == ["a", "b"]


def test_a_new_order_does_not_cancel_what_is_waited_for(make: Make, far: Far) -> None:
    far.gate("a")
    pool = make()
    pool.expect("a")
    assert soon(lambda: far.began == ["a"])
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(pool.get, "a")
        assert soon(lambda: far.requests["a"].waiting == 1)
        pool.expect(None)
        assert not far.requests["a"].is_cancelled
        far.gate("a").set()
        assert asked.result().key == "a"
    assert far.began == ["a"]


def test_threads_without_work_end_and_come_back(make: Make, far: Far) -> None:
    pool = make(idle_seconds=0.05, threads=3)
    pool.expect("abcdef")
    assert len(ours()) == 3
    assert soon(lambda: not ours())
    pool.get("a")
    assert soon(lambda: len(far.began) == 4)


def test_no_more_is_requested_than_there_is_room_for(make: Make, far: Far) -> None:
    room = [25]
    far.gate("a"), far.gate("b")
    pool = make(read_ahead_bytes=1000, room=lambda: room[0] - 10 * len(far.lent), threads=4)
    pool.expect("abcdef")
    assert soon(lambda: sorted(far.began) == list("ab"))
    time.sleep(0.05)
    assert len(far.began) == 2
    far.gate("a").set(), far.gate("b").set()
    assert soon(lambda: len(far.lent) == 2)
    time.sleep(0.05)
    assert len(far.began) == 2
    room[0] = 35
    assert soon(lambda: len(far.began) == 3)


def test_a_size_that_cannot_be_had_leaves_the_error_to_the_fetch(make: Make, far: Far) -> None:
    far.size_of = lambda key: {}[key]  # type: ignore[method-assign]
    far.failures = {"a": [ConnectionError("first"), ConnectionError("second")]}
    pool = make()
    pool.expect("ab")
    with pytest.raises(ConnectionError):
        pool.get("a"), pool.get("a")
    assert pool.get("b").key == "b"


def test_a_copy_from_a_pickle_begins_with_nothing(tmp_path: Path) -> None:
    pool = FetchPool(_Cached(tmp_path, 300), _ten, read_ahead_bytes=30)
    pool.expect("abc")
    copy = pickle.loads(pickle.dumps(pool))
    assert copy.get("a").path.read_bytes() == content_of("a", 10)
    assert (copy.stall_seconds > 0, copy.read_ahead_bytes) == (True, 30)
    pool.close()
    copy.close()


def test_a_forked_process_begins_with_nothing(tmp_path: Path) -> None:
    cached = _Cached(tmp_path, 30)
    pool: FetchPool[str, Lease] = FetchPool(cached, _ten, read_ahead_bytes=30, threads=2)
    pool.expect("abc")
    assert soon(lambda: cached.cache.leased_bytes() == 30)
    child = os.fork()
    if not child:
        try:
            fine = cached.cache.leased_bytes() == 0 and pool.get("a").path.read_bytes() == content_of("a", 10)
            pool.close()
        except BaseException:
            fine = False
        os._exit(0 if fine else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert pool.get("b").path.read_bytes() == content_of("b", 10)
    pool.close()


def _ten(_: str) -> int:
    return 10


class _Cached:
    """Fetches made-up shards of ten bytes into a cache."""

    def __init__(self, folder: Path, most: int, wait_seconds: float = 10) -> None:
        self.cache = ShardCache(folder, most, wait_seconds=wait_seconds)

    def __call__(self, key: str, request: FetchRequest) -> Lease:
        download = download_of(key, 10, pause=0.001)
        return self.cache.acquire(key, "1", 10, download, sha256=sha256_of(key, 10), ahead=request.ahead)


def test_what_is_ready_makes_way_for_what_is_needed_now(tmp_path: Path) -> None:
    cached = _Cached(tmp_path, 30)
    pool: FetchPool[str, Lease] = FetchPool(cached, _ten, read_ahead_bytes=1000, threads=2)
    cached.cache.due("zabcd")
    pool.expect("abcd")
    assert soon(lambda: cached.cache.leased_bytes() == 30)
    began = time.monotonic()
    assert pool.get("z").path.read_bytes() == content_of("z", 10)
    assert time.monotonic() - began < 2
    pool.close()


def test_what_arrives_while_there_is_no_room_for_what_is_needed_now_makes_way_too(tmp_path: Path) -> None:
    cached = _Cached(tmp_path, 20, wait_seconds=5)
    has_begun, may_end = threading.Event(), threading.Event()

    def fetch(key: str, request: FetchRequest) -> Lease:
        if key != "b":
            return cached(key, request)

        def download(writer: Any) -> None:
            has_begun.set()
            assert may_end.wait(10)
            download_of(key, 10)(writer)

        return cached.cache.acquire(key, "1", 10, download, ahead=request.ahead)

    pool: FetchPool[str, Lease] = FetchPool(fetch, _ten, read_ahead_bytes=1000, threads=1)
    with pool.get("a"):
        cached.cache.due("bc")
        pool.expect("b")
        assert has_begun.wait(5)
        threading.Timer(0.1, may_end.set).start()
        assert pool.get("c").path.read_bytes() == content_of("c", 10)
    pool.close()


@pytest.mark.parametrize("shards_in_cache", [4, 6, 40])
def test_pools_that_share_a_small_cache_all_get_through(tmp_path: Path, shards_in_cache: int) -> None:
    def consume(seed: int) -> int:
        cached = _Cached(tmp_path, 10 * shards_in_cache, wait_seconds=20)
        room = lambda: cached.cache.max_bytes - cached.cache.leased_bytes()  # noqa: E731
        pool: FetchPool[str, Lease] = FetchPool(cached, _ten, read_ahead_bytes=30, threads=2, room=room)
        order = [f"{number}" for number in range(40)]
        random.Random(seed).shuffle(order)
        cached.cache.due(order)
        pool.expect(order)
        for key in order:
            with pool.get(key) as lease:
                cached.cache.done(key)
                assert lease.path.read_bytes() == content_of(key, 10)
        pool.close()
        return cached.cache.leased_bytes()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(consume, range(4))) == [0, 0, 0, 0]
    assert not ours()


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_calls_by_many_threads_ends_with_nothing_held(make: Make, far: Far, seed: int) -> None:
    pool = make(threads=3, read_ahead_bytes=50, idle_seconds=0.01)
    keys = [f"{number}" for number in range(30)]
    lock = threading.Lock()
    rng = random.Random(seed)
    full_fetch = far.fetch

    def fetch(key: str, request: FetchRequest) -> Loan:
        with lock:
            luck, pause = rng.random(), rng.random() * 0.002
        time.sleep(pause)
        if luck < 0.1:
            raise ConnectionError(key)
        if luck < 0.2 and request.ahead:
            raise CacheFullError(key)
        return full_fetch(key, request)

    pool._fetch = fetch

    def use(seed: int) -> int:
        mine, num = random.Random(seed), 0
        for _ in range(60):
            if mine.random() < 0.1:
                pool.expect(None)
            if mine.random() < 0.3:
                pool.expect(mine.choices(keys, k=8))
            key = mine.choice(keys)
            try:
                lease = pool.get(key)
            except ConnectionError:
                continue
            assert lease.key == key
            lease.release()
            num += 1
        return num

    with ThreadPoolExecutor(4) as threads:
        assert min(threads.map(use, range(4 * seed, 4 * seed + 4))) > 30
    pool.close()
    assert not far.lent
    assert not ours()
