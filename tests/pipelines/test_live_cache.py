"""A few open things: which stay, what closes, from many threads and through pickle."""

from __future__ import annotations

import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.decode.decoder_pool import DecoderPool
from pipelines.storage.live_cache import LiveCache


class Opened:
    """Something that is open."""

    def __init__(self, key: int) -> None:
        self.key = key


def test_the_values_used_last_stay() -> None:
    cache: LiveCache[int, Opened] = LiveCache(3)
    first = [cache.get(key, Opened) for key in range(3)]
    assert cache.get(0, Opened) is first[0]
    cache.get(3, Opened)  # 1 was used longest ago
    assert cache.get(0, Opened) is first[0]
    assert cache.get(1, Opened) is not first[1]
    assert len(cache) == 3


def test_what_leaves_is_let_go_and_what_is_cleared_too() -> None:
    cache: LiveCache[int, Opened] = LiveCache(1)
    gone = weakref.ref(cache.get(0, Opened))
    stays = weakref.ref(cache.get(1, Opened))
    gc.collect()
    assert gone() is None
    assert stays() is not None
    cache.clear()
    gc.collect()
    assert stays() is None


def test_what_cannot_be_opened_is_tried_again() -> None:
    cache: LiveCache[int, Opened] = LiveCache(2)

    def fail(key: int) -> Opened:
        raise OSError("not now")

    with pytest.raises(OSError, match="not now"):
        cache.get(0, fail)
    assert cache.get(0, Opened).key == 0


def test_values_of_none_are_kept() -> None:
    cache: LiveCache[str, None] = LiveCache(2)
    asked: list[str] = []
    for _ in range(3):
        assert cache.get("x", asked.append) is None
    assert asked == ["x"]


def test_many_threads_get_the_right_values_and_a_pickle_is_empty() -> None:
    cache: LiveCache[int, Opened] = LiveCache(5)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda number: cache.get(number % 13, Opened).key, range(2000)))
    assert found == [number % 13 for number in range(2000)]
    assert len(cache) == 5
    assert len(pickle.loads(pickle.dumps(cache))) == 0


class Playing:
    """A decoder that stands somewhere."""

    num_bytes = 1

    def __init__(self, position: int) -> None:
        self.position, self.closed = position, False

    def close(self) -> None:
        self.closed = True


def test_of_idle_decoders_the_one_that_stands_there_is_taken_and_the_oldest_close() -> None:
    pool: DecoderPool[Playing] = DecoderPool(3)
    ours = [Playing(position) for position in (0, 100, 200)]
    for decoder in ours:
        pool.put_back(("a",), decoder)
    assert pool.take(("b",), 0) is None
    assert pool.take(("a",), 100) is ours[1]
    assert pool.take(("a",), 100) is ours[0], "any one of the file can be moved"
    late = [Playing(0) for _ in range(3)]
    for decoder in late:
        pool.put_back(("b",), decoder)
    assert ours[2].closed
    assert not any(decoder.closed for decoder in late)
    pool.clear()
    assert all(decoder.closed for decoder in late)
    assert pool.take(("b",), 0) is None


def test_of_large_decoders_fewer_are_kept_but_always_one() -> None:
    pool: DecoderPool[Playing] = DecoderPool(3, most_bytes=2)
    decoders = [Playing(position) for position in range(3)]
    for decoder in decoders:
        pool.put_back(("a",), decoder)
    assert [decoder.closed for decoder in decoders] == [True, False, False]
    large = Playing(0)
    large.num_bytes = 5
    pool.put_back(("b",), large)
    assert all(decoder.closed for decoder in decoders)
    assert pool.take(("b",), 0) is large
