"""The order of examples: fixed for ever by golden vectors, a bijection always, uniform by chi-square."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from pipelines.order.epoch_order import DRAWN_WHOLE, FEISTEL_ROUNDS, EpochOrder, Permutation, feistel, permutation
from pipelines.order.randomness import Purpose, derive_key, philox_words

GOLDEN = json.loads((Path(__file__).parent / "golden_orders_v1.json").read_text())
NUM_KEYS = 100_000
SMALL_P = 1e-4


@cache
def keys_of_epochs(num: int) -> list[int]:
    """The keys an iterator would use in its first `num` epochs: as alike as keys ever are."""
    return [derive_key(0, Purpose.ORDER, epoch, 0) for epoch in range(num)]


def whole_epoch(num: int, **settings: Any) -> NDArray[np.int64]:
    return EpochOrder(num, **{"seed": 0, "epoch": 0, **settings})(np.arange(num))


@pytest.mark.parametrize("case", GOLDEN["orders"], ids=lambda case: json.dumps(case["settings"])[1:-1])
def test_orders_of_version_1_never_change(case: dict[str, Any]) -> None:
    settings = dict(case["settings"])
    if "counts" in settings:
        settings["counts"] = np.array(settings["counts"])
    order = EpochOrder(case["num"], **settings)
    assert order(np.array(case["positions"])).tolist() == case["indices"]


@pytest.mark.parametrize("num", [1, 2, 3, 4, 5, 7, 16, 100, 1000, 65_535, 65_536, 65_537, 100_003])
@pytest.mark.parametrize("key", [0, 1, (1 << 64) - 1, 0x1234_5678_9ABC_DEF0])
def test_a_permutation_holds_every_index_once(num: int, key: int) -> None:
    assert np.array_equal(np.sort(permutation(num, key)), np.arange(num))
    assert np.array_equal(Permutation(num, key)(np.arange(num)), permutation(num, key))


@pytest.mark.parametrize("num", [*range(1, 40), 63, 64, 65, 255, 257, 1000, 9_999, 10_000, 10_001, 65_537])
def test_the_feistel_network_is_a_bijection_for_every_size(num: int) -> None:
    round_keys = philox_words(FEISTEL_ROUNDS, 77)
    assert np.array_equal(np.sort(feistel(np.arange(num), num, round_keys)), np.arange(num))


@pytest.mark.parametrize("num", [10**6, 10**9 + 7, 10**12, 2**40])
def test_a_sample_of_a_large_permutation_has_no_repeats_and_stays_inside(num: int) -> None:
    positions = np.unique(np.concatenate([np.arange(200_000), np.linspace(0, num - 1, 100_000).astype(np.int64)]))
    found = Permutation(num, 5)(positions)
    assert len(np.unique(found)) == len(positions)
    assert found.min() >= 0
    assert found.max() < num
    assert stats.kstest(found / num, "uniform").pvalue > SMALL_P


@pytest.fixture(scope="module")
def round_keys() -> NDArray[np.uint64]:
    """(rounds, 1, keys): the Feistel rounds of 10⁵ epochs, to be evaluated at once."""
    words = [philox_words(FEISTEL_ROUNDS, key) for key in keys_of_epochs(NUM_KEYS)]
    return np.stack(words, axis=1)[:, None, :]


def p_of_uniform_orders(orders: NDArray[np.int64]) -> float:
    """Chi-square over all n! orders; orders is (n, keys)."""
    num = len(orders)
    codes = (orders * (num ** np.arange(num))[:, None]).sum(axis=0)
    found = dict(zip(*np.unique(codes, return_counts=True), strict=True))
    places = itertools.permutations(range(num))
    counts = [found.get(sum(value * num**place for place, value in enumerate(order)), 0) for order in places]
    assert sum(counts) == orders.shape[1]
    return float(stats.chisquare(counts).pvalue)


@pytest.mark.parametrize("num", [3, 4, 5])
def test_feistel_orders_of_few_examples_are_uniform_over_many_epochs(
    num: int, round_keys: NDArray[np.uint64]
) -> None:
    assert p_of_uniform_orders(feistel(np.arange(num)[:, None], num, round_keys)) > SMALL_P


@pytest.mark.parametrize("num", [3, 4, 5])
def test_drawn_orders_of_few_examples_are_uniform_over_many_epochs(num: int) -> None:
    orders = np.stack([permutation(num, key) for key in keys_of_epochs(NUM_KEYS)], axis=1)
    assert p_of_uniform_orders(orders) > SMALL_P


def test_six_rounds_would_fail_the_same_test(round_keys: NDArray[np.uint64]) -> None:
    """The witness that the chi-square test can see a weak network at all."""
    assert p_of_uniform_orders(feistel(np.arange(5)[:, None], 5, round_keys[:6])) < SMALL_P


@pytest.mark.parametrize("branch", ["drawn", "feistel"])
def test_every_value_is_as_likely_everywhere_and_neighbours_know_nothing_of_each_other(
    branch: str, round_keys: NDArray[np.uint64]
) -> None:
    num, keys = 60, 20_000
    if branch == "drawn":
        orders = np.stack([permutation(num, key) for key in keys_of_epochs(keys)], axis=1)
    else:
        orders = feistel(np.arange(num)[:, None], num, round_keys[:, :, :keys])
    places = np.repeat(np.arange(num), keys)
    counts = np.bincount(places * num + orders.ravel(), minlength=num * num)
    chi_square = ((counts - keys / num) ** 2 / (keys / num)).sum()
    assert stats.chi2.sf(chi_square, (num - 1) ** 2) > SMALL_P
    centred = (orders - (num - 1) / 2) / np.sqrt((num**2 - 1) / 12)
    for distance in (1, 2, 7, 30):  # each pair of places correlates by −1/(n − 1), no more and no less
        products = (centred[:-distance] * centred[distance:]).mean(axis=0)
        z = (products.mean() + 1 / (num - 1)) / (products.std() / np.sqrt(keys))
        assert abs(z) < 4.5, f"places {distance} apart: {z:.1f} standard errors"
    lag = (centred[:, :-1] * centred[:, 1:]).mean(axis=0)  # the same place in consecutive epochs
    assert abs(lag.mean() / (lag.std() / np.sqrt(keys))) < 4.5


@pytest.mark.parametrize("num", [1000, DRAWN_WHOLE, DRAWN_WHOLE + 1, 300_000])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"groups": 4},
        {"shuffle_shards": 3},
        {"shuffle": "files"},
        {"shuffle": False},
        {"shuffle_shards": 2, "groups": 3},
    ],
    ids=str,
)
def test_what_stands_at_a_position_does_not_depend_on_what_else_is_asked(
    num: int, settings: dict[str, Any]
) -> None:
    counts = np.full(10, num // 10)
    counts[0] += num - counts.sum()
    order = EpochOrder(num, seed=3, epoch=2, counts=counts, **settings)
    positions = np.random.default_rng(0).permutation(num)[:800]
    together = order(positions)
    assert np.array_equal(together[:700], order(positions[:700]))
    fresh = EpochOrder(num, seed=3, epoch=2, counts=counts, **settings)
    assert np.array_equal(together[-40:], [int(fresh(positions[i : i + 1])[0]) for i in range(760, 800)])


@pytest.mark.parametrize("num", [50, 70_000])
def test_each_epoch_and_each_seed_has_another_order_and_each_is_repeatable(num: int) -> None:
    orders = [whole_epoch(num, seed=seed, epoch=epoch) for seed in range(4) for epoch in range(4)]
    for a, b in itertools.combinations(orders, 2):
        assert (a == b).mean() < 0.2
    assert np.array_equal(orders[5], whole_epoch(num, seed=1, epoch=1))


def test_without_shuffle_the_order_is_the_stored_one() -> None:
    assert np.array_equal(whole_epoch(100, shuffle=False), np.arange(100))


@pytest.mark.parametrize("window", [1, 2, 3, 5, 7, 100])
def test_windows_hold_whole_shards_and_each_shard_falls_in_one_window(window: int) -> None:
    counts = np.array([5, 1, 8, 0, 3, 9, 2])
    shard_of = np.repeat(np.arange(len(counts)), counts)
    order = whole_epoch(counts.sum(), shuffle_shards=window, counts=counts)
    assert sorted(order) == list(range(counts.sum()))
    rest, seen = list(shard_of[order]), []
    while rest:
        shards = list(dict.fromkeys(rest))
        size = 0
        for taken in range(1, len(shards) + 1):  # the smallest prefix that is made of whole shards
            size = sum(counts[shard] for shard in shards[:taken])
            if set(rest[:size]) == set(shards[:taken]) and (taken == window or size == len(rest)):
                break
        else:
            pytest.fail("a window begins before the one before it is done")
        seen += sorted(set(rest[:size]))
        rest = rest[size:]
    assert sorted(seen) == [0, 1, 2, 4, 5, 6]


def test_shards_come_in_another_order_each_epoch_and_mix_within_a_window() -> None:
    counts = np.full(20, 30)
    epochs = [whole_epoch(600, shuffle_shards=2, counts=counts, epoch=epoch) // 30 for epoch in range(3)]
    first_windows = [frozenset(epoch[:60]) for epoch in epochs]
    assert len(set(first_windows)) == 3
    changes = (np.diff(epochs[0][:60]) != 0).sum()
    assert changes > 15, "two shards in one window alternate about every second example"


def test_shuffled_files_are_played_in_order_each() -> None:
    counts = np.array([4, 0, 7, 1, 3])
    order = whole_epoch(15, shuffle="files", counts=counts)
    starts = (np.cumsum(counts) - counts)[counts > 0]
    runs = np.split(order, np.flatnonzero(np.diff(order) != 1) + 1)
    found = [run for whole in runs for run in np.split(whole, np.flatnonzero(np.isin(whole[1:], starts)) + 1)]
    expected = [np.arange(start, start + count) for start, count in zip(starts, counts[counts > 0], strict=True)]
    assert sorted(map(tuple, found)) == sorted(map(tuple, expected))
    assert not np.array_equal(order, np.arange(15))


@pytest.mark.parametrize("num", [1, 2, 7, 8, 9, 100, 1001])
@pytest.mark.parametrize("groups", [1, 2, 3, 8])
@pytest.mark.parametrize("shuffle_shards", [None, 2])
def test_groups_are_interleaved_streams_over_disjoint_stretches(
    num: int, groups: int, shuffle_shards: int | None
) -> None:
    counts = np.array([num // 3, num - num // 3])
    order = whole_epoch(num, groups=groups, shuffle_shards=shuffle_shards, counts=counts)
    assert sorted(order) == list(range(num))
    stretches = [np.sort(order[group::groups]) for group in range(groups)]
    assert np.array_equal(np.concatenate(stretches), np.arange(num))


def test_windows_and_files_without_counts_are_refused() -> None:
    for settings in ({"shuffle": "files"}, {"shuffle_shards": 2}):
        with pytest.raises(ValueError, match="counts"):
            EpochOrder(10, seed=0, epoch=0, **settings)  # type: ignore[arg-type]


HUGE = """
import resource, sys, time
import numpy as np
from pipelines import DataIterator, Example, Source

class Huge(Source):
    name = "huge"
    def __len__(self):
        return 10**9
    def read(self, indices):
        return [Example(index, str(index), b"") for index in indices]

unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
begun = time.process_time()
ids = DataIterator(Huge(), lambda example, rng: np.int64(example.index), batch_size=256, shuffle=True, threads=2)
batches = iter(ids)
seen = np.concatenate([next(batches).data for _ in range(20)])
ids.load_state_dict({**ids.state_dict(), "position": 256 * 3_000_000})
seen = np.concatenate([seen, next(iter(ids)).data])
ids.close()
spent = time.process_time() - begun
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before
print(len(np.unique(seen)), seen.max() > 9 * 10**8, int(used / 1e6), spent)
"""


def test_a_thousand_million_examples_are_shuffled_in_no_memory_and_no_time() -> None:
    done = subprocess.run([sys.executable, "-c", HUGE], capture_output=True, text=True, timeout=60, check=True)
    unique, is_spread, megabytes, seconds = done.stdout.split()
    assert (unique, is_spread) == (str(21 * 256), "True")
    assert int(megabytes) < 100
    assert float(seconds) < 1
