"""Where the time goes: sums that add up, from many threads."""

from __future__ import annotations

import pickle
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines import DataIterator, Stats
from pipelines.batching.stats import Counters


def test_sums_from_many_threads_lose_nothing() -> None:
    counters, usual = Counters(), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [
        threading.Thread(target=lambda: [counters.add(examples=1, bytes=2) for _ in range(5000)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(usual)
    assert counters.stats() == Stats(examples=40_000, bytes=80_000)


def test_shares_and_rates_follow_from_the_sums() -> None:
    stats = Stats(examples=30, wait_seconds=1.0, consumer_seconds=3.0)
    assert stats.wait_share == 0.25
    assert stats.examples_per_second == 7.5
    assert (Stats().wait_share, Stats().examples_per_second) == (0, 0)


def test_a_copy_counts_from_nothing() -> None:
    counters = Counters()
    counters.add(examples=3)
    again = pickle.loads(pickle.dumps(counters))
    assert again.stats() == Stats()
    again.add(examples=1)
    assert (again.stats().examples, counters.stats().examples) == (1, 3)


def play(numbers: Callable[..., Any], decode_seconds: float, consumer_seconds: float) -> Stats:
    def decode(example: Any, rng: Any) -> Any:
        time.sleep(decode_seconds)
        return np.array([example.index])

    iterator = DataIterator(numbers(64), decode, batch_size=8, threads=2)
    for _ in iterator:
        time.sleep(consumer_seconds)
    return iterator.stats


def test_a_slow_decoder_shows_as_waiting_and_a_slow_consumer_does_not(numbers: Callable[..., Any]) -> None:
    starved, fed = play(numbers, 0.01, 0), play(numbers, 0, 0.05)
    assert starved.wait_share > 0.8
    assert fed.wait_share < 0.3
    assert starved.examples == fed.examples == 64
    assert starved.decode_seconds >= 64 * 0.01
    assert fed.consumer_seconds >= 7 * 0.05
    assert starved.bytes == sum(len(str(number)) for number in range(64))
