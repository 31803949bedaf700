"""The verdict: what holds a loop up, told from the sums, and true of loops that are slow in one known place."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from pipelines import DataIterator, Example, Stats, mix

from .lettered import Lettered, letters, rows


@pytest.mark.parametrize(
    ("sums", "verdict"),
    [
        ({}, "nothing delivered"),
        ({"wait_seconds": 0.1, "consumer_seconds": 9.9, "decode_seconds": 5.0}, "consumer-bound"),
        (
            {"wait_seconds": 9.0, "consumer_seconds": 1.0, "decode_seconds": 18.0, "read_seconds": 1.0},
            "decode-bound",
        ),
        ({"wait_seconds": 9.0, "consumer_seconds": 1.0, "decode_seconds": 1.0, "read_seconds": 18.0}, "read-bound"),
        ({"wait_seconds": 5.0, "consumer_seconds": 5.0, "decode_seconds": 6.0}, "larger prefetch_bytes"),
    ],
)
def test_the_verdict_follows_from_the_sums(sums: dict[str, float], verdict: str) -> None:
    stats = Stats(examples=100, bytes=5_000_000, batches=10 if sums else 0, ready=20, threads=2, **sums)  # type: ignore[arg-type]
    assert verdict in stats.verdict
    assert "\n" not in str(stats)
    assert stats.verdict in str(stats)


def test_rates_shares_and_depths_have_closed_forms() -> None:
    stats = Stats(100, 5_000_000, 10, 25, 1.0, 5.0, 3.0, 1.0, 0, 2)
    assert stats.wall_seconds == 4.0
    assert stats.examples_per_second == 25.0
    assert stats.bytes_per_second == 1_250_000
    assert stats.wait_share == 0.75
    assert stats.queue_depth == 2.5
    assert stats.busy_share == (1.0 + 5.0) / (2 * 4.0)
    assert str(stats).startswith("25 examples/s, 1 MB/s, 75% waiting: ")
    empty = Stats()
    assert (empty.queue_depth, empty.bytes_per_second, empty.busy_share, empty.wait_share) == (0, 0, 0, 0)


def play(read: float = 0.0, decode: float = 0.0, consume: float = 0.0, **settings: Any) -> Stats:
    """48 examples; so many seconds for reading one, for decoding one and for using a batch of 8."""

    class Slow(Lettered):
        def read(self, indices: Sequence[int]) -> list[Example]:
            time.sleep(read * len(indices))
            return super().read(indices)

    def decoded(example: Example, rng: np.random.Generator) -> Any:
        time.sleep(decode)
        return np.array([example.index])

    iterator = DataIterator(Slow("a", 48), decoded, batch_size=8, **{"threads": 2, **settings})
    for _ in iterator:
        time.sleep(consume)
    return iterator.stats


@pytest.mark.parametrize(
    ("slow", "verdict"),
    [
        ({"decode": 0.005}, "decode-bound"),
        ({"read": 0.005}, "read-bound"),
        ({"consume": 0.04}, "consumer-bound"),
    ],
)
def test_a_loop_that_is_slow_in_one_place_is_told_so(slow: dict[str, float], verdict: str) -> None:
    stats = play(**slow)
    if verdict == "consumer-bound":  # the first batch is always waited for
        assert stats.wait_share < 0.2
        assert stats.queue_depth > 0.5
    else:
        assert verdict in stats.verdict
        assert stats.wait_share > 0.8
        assert stats.busy_share > 0.7
    assert (stats.examples, stats.batches, stats.threads) == (48, 6, 2)


def test_more_threads_shorten_what_the_verdict_calls_decode_bound() -> None:
    one, four = (play(decode=0.004, threads=threads) for threads in (1, 4))
    assert "decode-bound" in one.verdict
    assert four.examples_per_second > 1.5 * one.examples_per_second


def test_numbers_go_on_over_epochs_and_a_pause_between_two_loops_is_nobodys() -> None:
    iterator = letters()
    rows(iterator)
    first = iterator.stats
    time.sleep(0.2)
    rows(iterator)
    second = iterator.stats
    assert (first.examples, second.examples) == (23, 46)
    assert (first.batches, second.batches) == (6, 12)
    assert second.wall_seconds < 0.2
    assert re.fullmatch(r"[\d,]+ examples/s, [\d,]+ MB/s, \d+% waiting: .+", str(second))


def test_a_mixture_reads_and_decodes_on_its_own_account() -> None:
    parts = [letters("a", 20), letters("b", 20)]
    mixture = mix(parts, [1, 1], batch_size=5, threads=3)
    rows(mixture)
    assert mixture.stats.threads == 3
    assert mixture.stats.bytes > 0
    assert all(part.stats == Stats(threads=2) for part in parts), "the parts were not played"
