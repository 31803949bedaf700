"""Mixtures: exact proportions, each source in its own order, and nothing lost or repeated when anything changes."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from pipelines import DataIterator, MixedIterator, mix
from pipelines.order.turns import BLOCK, Turns, quotas_of
from pipelines.testing import assert_resumes_exactly

from .lettered import SIZES, Row, letters, rows, three

Fixture = Callable[..., Any]


def alone(letter: str, num: int, *, seeds: int = 0) -> list[Row]:
    """The first `num` examples that a source's own iterator plays, epoch after epoch."""
    iterator = letters(letter, SIZES[letter], seed=seeds + "abc".index(letter))
    found: list[Row] = []
    while len(found) < num:
        found += rows(iterator)
    return found[:num]


def assert_each_source_played_its_own_stream(found: list[Row]) -> None:
    for letter in SIZES:
        mine = [row for row in found if row[0].startswith(letter)]
        assert mine == alone(letter, len(mine))


# Proportions


def test_every_block_of_a_thousand_holds_the_exact_quotas() -> None:
    mixture = three(batch_size=50, epoch_examples=3000)
    found = rows(mixture) + rows(mixture)
    blocks = [found[start : start + BLOCK] for start in range(0, len(found), BLOCK)]
    counted = [Counter(key[0] for key, _ in block) for block in blocks]
    assert counted == [{"a": 700, "b": 200, "c": 100}] * 6
    orders = {"".join(key[0] for key, _ in block) for block in blocks}
    assert len(orders) == 6, "every block of every epoch is dealt afresh"


@pytest.mark.parametrize("weights", [(7, 2, 1), (1, 1, 1), (0.001, 0.999), (3, 5, 7, 11, 13), (1e-3, 1e9 - 1e6)])
def test_quotas_are_the_whole_numbers_nearest_to_the_weights(weights: tuple[float, ...]) -> None:
    if weights[0] / sum(weights) < 0.0005:
        with pytest.raises(ValueError, match="a share below 1 in 1000"):
            quotas_of(weights, len(weights))
        return
    quotas = quotas_of(weights, len(weights))
    whole = sum(map(Fraction, weights))
    assert sum(quotas) == BLOCK
    assert all(abs(Fraction(w) / whole * BLOCK - q) < 1 for w, q in zip(weights, quotas, strict=True))


def test_without_weights_the_sizes_of_the_sources_are_the_shares() -> None:
    mixture = three(None, batch_size=10)
    assert mixture.quotas == quotas_of(list(SIZES.values()), 3)
    assert len(rows(mixture)) == sum(SIZES.values())


def test_turns_are_spread_over_a_block_and_not_clustered() -> None:
    """Of 700 : 200 : 100, each tenth of a block holds about its share: hypergeometric, 5 deviations."""
    turns = Turns((700, 200, 100), 5, 0)
    streams, _ = turns(np.arange(20 * BLOCK))
    counts = (streams.reshape(-1, 100) == 0).sum(axis=1)
    assert abs(counts - 70).max() < 5 * np.sqrt(100 * 0.7 * 0.3)
    assert counts.std() > 2, "a drawn order, no regular beat"


@pytest.mark.parametrize("origin", [0, 13, 999, 1000])
def test_turns_before_a_position_are_those_that_were_counted(origin: int) -> None:
    turns = Turns((501, 499), 9, origin)
    positions = np.arange(origin, origin + 2500)
    streams, before = turns(positions)
    for position in (origin, origin + 1, origin + 999, origin + 1000, origin + 2499):
        counted = np.bincount(streams[: position - origin], minlength=2)
        assert turns.taken_before(position).tolist() == counted.tolist()
    for stream in (0, 1):
        assert before[streams == stream].tolist() == list(range(int((streams == stream).sum())))
    shuffled = np.random.default_rng(0).permutation(positions)
    assert np.array_equal(turns(shuffled)[0], streams[shuffled - origin]), "asked for in any order"


# Each source's own stream


@pytest.mark.parametrize("weights", [(7, 2, 1), (1, 1, 1), (1, 30, 900), None])
def test_each_source_plays_exactly_its_own_iterators_stream(weights: Any) -> None:
    mixture = three(weights)
    found = [row for _ in range(5) for row in rows(mixture)]
    assert len(found) == 5 * 70
    assert_each_source_played_its_own_stream(found)


def test_sources_keep_their_own_groups_windows_and_file_order() -> None:
    def parts() -> list[Any]:
        return [
            letters("a", 24, shards=(8, 8, 8), shuffle_shards=2, seed=3),
            letters("b", 24, groups=4, seed=4),
            letters("c", 9, shuffle=False),
        ]

    mixture = mix(parts(), [1, 1, 1], batch_size=5, threads=1)
    found = [row for _ in range(4) for row in rows(mixture)]
    for iterator, letter in zip(parts(), "abc", strict=True):
        mine = [row for row in found if row[0].startswith(letter)]
        expected = list(itertools.chain.from_iterable(rows(iterator) for _ in range(9)))
        assert mine == expected[: len(mine)]
        assert len(mine) > 50


@pytest.mark.parametrize(("world_size", "tail"), [(2, "pad"), (3, "drop"), (5, "pad")])
def test_ranks_share_the_mixture_between_them(world_size: int, tail: str) -> None:
    ranks = [three(rank=rank, world_size=world_size, tail=tail, batch_size=3) for rank in range(world_size)]
    whole = rows(three())
    found: list[Row] = []
    for batches in zip(*ranks, strict=True):
        assert all(batch.state == batches[0].state for batch in batches)
        found += rows(batches)
    assert found == whole[: len(found)]
    assert len(whole) - len(found) < (1 if tail == "pad" else 3 * world_size)


# Resuming


def test_a_mixture_resumes_exactly_at_every_batch_whatever_changes() -> None:
    variations = [
        {},
        {"threads": 3, "batch_size": 7},
        {"world_size": 2, "tail": "pad", "batch_size": 3},
        {"world_size": 3, "tail": "pad", "batch_size": 2},
    ]
    assert assert_resumes_exactly(three, variations=variations, epochs=2, every=2) == 4 * 19


def test_a_fixed_epoch_resumes_exactly_over_blocks_and_epochs_of_its_sources() -> None:
    def make(**settings: Any) -> MixedIterator:
        return three(**{"batch_size": 300, "epoch_examples": 1234, **settings})

    tried = assert_resumes_exactly(make, variations=[{"batch_size": 77}, {"threads": 1}], epochs=2, every=2)
    assert tried == 2 * 6


@pytest.mark.parametrize("stop", range(0, 18, 3))
def test_weights_change_on_resume_at_any_position_and_nothing_is_lost_or_repeated(stop: int) -> None:
    found: list[Row] = []
    mixture, weights = three(), itertools.cycle([(1, 1, 8), (2, 7, 1), (1, 500, 1), (7, 2, 1)])
    for _ in range(4):  # a change in mid-epoch, and another after it, and so on over several epochs
        found += rows(itertools.islice(mixture, stop))
        changed = three(next(weights))
        changed.load_state_dict(json.loads(json.dumps(mixture.state_dict())))
        mixture = changed
        found += rows(mixture)
    assert len(found) == 4 * 70
    assert_each_source_played_its_own_stream(found)


def test_new_weights_hold_from_the_change_on_in_blocks_of_their_own() -> None:
    before = three((8, 1, 1), batch_size=50, epoch_examples=4000)
    first = rows(itertools.islice(before, 11))  # 550 positions: in the middle of a block
    after = three((1, 1, 8), batch_size=50, epoch_examples=4000)
    after.load_state_dict(before.state_dict())
    second = rows(itertools.islice(after, 40))
    for block in (second[:1000], second[1000:2000]):
        assert Counter(key[0] for key, _ in block) == {"a": 100, "b": 100, "c": 800}
    again = three((1, 1, 8), batch_size=50, epoch_examples=4000)
    again.load_state_dict(json.loads(json.dumps(after.state_dict())))
    third = rows(again)
    assert Counter(key[0] for key, _ in third[:1000]) == {"a": 100, "b": 100, "c": 800}
    assert_each_source_played_its_own_stream(first + second + third)


def test_a_mixture_of_many_sources_passes_the_checker_too() -> None:
    def make(**settings: Any) -> MixedIterator:
        return mix([letters(letter, 5, seed=ord(letter)) for letter in "abcdef"], batch_size=6, threads=1)

    assert assert_resumes_exactly(make, epochs=2) == 11


def test_resuming_with_new_weights_is_itself_exact_at_every_batch() -> None:
    saved = three((8, 1, 1))
    rows(itertools.islice(saved, 5))
    state = json.dumps(saved.state_dict())

    def make(**settings: Any) -> MixedIterator:
        mixture = three((1, 1, 8), **settings)
        mixture.load_state_dict(json.loads(state))
        return mixture

    assert assert_resumes_exactly(make, variations=[{"batch_size": 3, "threads": 1}], epochs=2) > 30


def test_sources_that_grew_by_appending_join_at_their_own_next_epoch() -> None:
    def growing(*shards: int) -> DataIterator:
        return letters("a", sum(shards), shards=shards, seed=1, broken=(2, 5, 9), on_error="substitute")

    def make(*shards: int) -> MixedIterator:
        parts = [growing(*shards), letters("b", 9, seed=2)]
        return mix(parts, [1, 1], batch_size=4, threads=1, epoch_examples=30)

    small, grown = make(10, 6), make(10, 6, 5)
    found = rows(itertools.islice(small, 5))
    grown.load_state_dict(json.loads(json.dumps(small.state_dict())))
    assert grown.state_dict() == small.state_dict()
    for _ in range(4):
        found += rows(grown)
    mine = [row for row in found if row[0][0] == "a"]
    before, after = growing(10, 6), growing(10, 6, 5)
    after.reset(epoch=1)
    assert mine[:16] == rows(before), "the epoch ends over what it began with"
    assert mine[16:37] == rows(after), "the next has all, also to draw substitutes from"
    assert mine[37:58] == rows(after)


def test_the_state_is_json_with_the_same_keys_and_under_a_kilobyte_a_source() -> None:
    mixture = three()
    keys = list(mixture.state_dict())
    for batch in itertools.chain(mixture, mixture):
        assert json.loads(json.dumps(batch.state)) == batch.state == mixture.state_dict()
        assert list(batch.state) == keys
    many = mix([letters(chr(97 + n), 10**9 + n, seed=n) for n in range(25)], batch_size=4, threads=1)
    state = next(iter(many)).state
    assert all(len(json.dumps(each)) < 1024 for each in state["sources"])
    assert len(json.dumps(state)) < 25 * 1024


def test_a_mixture_is_copied_and_pickled_with_its_place() -> None:
    mixture = three()
    rows(itertools.islice(mixture, 6))
    twins = [copy.deepcopy(mixture), pickle.loads(pickle.dumps(mixture))]
    expected = rows(mixture)
    assert [rows(twin) for twin in twins] == [expected, expected]


def test_an_epoch_is_as_long_as_it_is_told_to_be() -> None:
    mixture = three(epoch_examples=10)
    assert len(mixture) == 3
    found = [rows(mixture) for _ in range(12)]
    assert [len(epoch) for epoch in found] == [10] * 12
    assert mixture.epoch == 12
    assert_each_source_played_its_own_stream([row for epoch in found for row in epoch])


@pytest.mark.parametrize("examples", [0, -5])
def test_an_epoch_of_no_examples_is_refused_by_its_name(examples: int) -> None:
    with pytest.raises(ValueError, match="epoch_examples"):
        three(epoch_examples=examples)
