"""The cache of chunks keeps within its bound, and no chunk is loaded by two threads at once."""

from __future__ import annotations

import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines import SourceError
from pipelines.sources.arrays.chunk_cache import ChunkCache
from pipelines.sources.arrays.lookahead import Lookahead


def chunk(number: int, size: int = 100) -> NDArray[np.uint8]:
    return np.full(size, number, np.uint8)


def test_the_chunks_used_last_are_kept_within_the_bound() -> None:
    cache, loads = ChunkCache(300), []

    def get(number: int) -> int:
        return int(cache.get(number, lambda: loads.append(number) or chunk(number))[0])

    assert [get(number) for number in (1, 2, 3, 1, 4, 1, 3, 2)] == [1, 2, 3, 1, 4, 1, 3, 2]
    assert loads == [1, 2, 3, 4, 2]
    assert cache.kept_bytes == 300
    cache.clear()
    assert (cache.kept_bytes, get(1), loads[-1]) == (0, 1, 1)


def test_one_chunk_is_kept_however_large_it_is() -> None:
    cache = ChunkCache(10)
    for number in (1, 2):
        cache.get(number, lambda number=number: chunk(number))
        assert cache.get(number, lambda: pytest.fail("loaded again"))[0] == number
        assert cache.kept_bytes == 100


def test_a_chunk_is_loaded_by_one_thread_and_given_to_all() -> None:
    cache, loads = ChunkCache(1000), []

    def load() -> NDArray[np.uint8]:
        time.sleep(0.05)
        loads.append(threading.get_ident())
        return chunk(7)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cache.get("a", load), range(8)))
    assert len(loads) == 1
    assert all(each is found[0] for each in found)


def test_a_thread_that_warms_does_not_wait_for_one_that_loads() -> None:
    cache, begun, go_on = ChunkCache(1000), threading.Event(), threading.Event()

    def load() -> NDArray[np.uint8]:
        begun.set()
        assert go_on.wait(10)
        return chunk(1)

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cache.get, "a", load)
        assert begun.wait(10)
        cache.warm("a", lambda: pytest.fail("loaded twice"))
        go_on.set()
        assert slow.result()[0] == 1
    cache.warm("a", lambda: pytest.fail("loaded twice"))


def test_a_failure_reaches_all_who_wait_and_is_not_remembered() -> None:
    cache = ChunkCache(1000)

    def fail() -> NDArray[np.uint8]:
        time.sleep(0.05)
        raise SourceError("torn")

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(cache.get, "a", fail) for _ in range(4)]
        assert {str(each.exception()) for each in waiting} == {"torn"}
    cache.warm("a", fail)
    assert cache.get("a", lambda: chunk(3))[0] == 3


def test_what_is_kept_of_a_chunk_can_be_parts_of_it() -> None:
    cache = ChunkCache(150)

    def halves(whole: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
        return {"left": whole[:50].copy(), "right": whole[50:].copy()}

    assert len(cache.get("a", lambda: chunk(1), halves)) == 100
    assert cache.kept_bytes == 100
    left = cache.take("left")
    assert left is not None
    assert (len(left), cache.take("left"), cache.kept_bytes) == (50, None, 50)
    cache.get("a", lambda: chunk(2), halves)
    assert cache.kept_bytes == 100, "what is replaced does not count twice"
    cache.get("b", lambda: chunk(3))
    assert cache.kept_bytes == 150


def test_a_pickled_cache_is_empty_and_as_large() -> None:
    cache = ChunkCache(300)
    cache.get(1, lambda: chunk(1))
    copied = pickle.loads(pickle.dumps(cache))
    assert (copied.capacity_bytes, copied.kept_bytes) == (300, 0)


@pytest.mark.parametrize("stretch", [(0, 10), (0, 10_000)])
def test_due_soon_are_the_next_ones_of_a_stretch(stretch: tuple[int, int]) -> None:
    due = Lookahead()
    assert not due
    due.expect([3, 900, 5, 7])
    due.expect([1, 9])
    inside = [row for row in (3, 900, 5, 7, 1, 9) if stretch[0] <= row < stretch[1]]
    assert sorted(due.soon(*stretch, 100)) == sorted(inside)
    assert sorted(due.soon(*stretch, 4)) == sorted(row for row in (3, 900, 5, 7) if row in inside)
    for row in (3, 900, 4):
        due.served(row)
    assert sorted(due.soon(*stretch, 3)) == [1, 5, 7]
    assert not pickle.loads(pickle.dumps(due))
    due.clear()
    assert (bool(due), due.soon(*stretch, 100)) == (False, [])
