"""Keys and words: fixed by golden vectors, written out again here in plain integers, and told apart by place."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipelines.order.randomness import Place, Purpose, derive_key, keyed_words, mix64, philox_words

GOLDEN = json.loads((Path(__file__).parent / "golden_orders_v1.json").read_text())
MASK = (1 << 64) - 1
GOLDEN_RATIO = 0x9E3779B97F4A7C15


def splitmix64(state: int) -> int:
    """One step of the published generator (Steele, Lea & Flood 2014; Vigna's splitmix64.c), in plain integers."""
    state = (state + GOLDEN_RATIO) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def test_the_mixing_is_the_published_splitmix64() -> None:
    assert splitmix64(1234567) == 6457827717110365317  # the generator's own published first output for this seed
    states = [0, 1, 2, 1234567, MASK, 1 << 63]
    found = mix64(np.array(states, np.uint64) + np.uint64(GOLDEN_RATIO))
    assert found.tolist() == [splitmix64(state) for state in states]


def test_mixing_leaves_its_argument_alone_and_never_meets_itself() -> None:
    words = np.arange(100_000, dtype=np.uint64)
    mixed = mix64(words)
    assert np.array_equal(words, np.arange(100_000, dtype=np.uint64))
    assert len(np.unique(mixed)) == len(words)


@pytest.mark.parametrize("case", GOLDEN["derive_key"], ids=str)
def test_keys_of_version_1_never_change(case: tuple[list[int], int]) -> None:
    parts, key = case
    assert derive_key(*parts) == key
    assert 0 <= key <= MASK


@pytest.mark.parametrize("case", GOLDEN["philox_words"], ids=str)
def test_philox_words_of_version_1_never_change(case: tuple[int, list[int]]) -> None:
    key, words = case
    assert philox_words(len(words), key).tolist() == words
    assert philox_words(2 * len(words), key).tolist()[: len(words)] == words


@pytest.mark.parametrize("case", GOLDEN["keyed_words"], ids=str)
def test_keyed_words_of_version_1_never_change(case: tuple[int, list[int], list[list[int]]]) -> None:
    key, positions, words = case
    assert keyed_words(key, np.array(positions), 3).tolist() == words
    assert keyed_words(key, np.array(positions[::-1]), 2).tolist() == [row[:2] for row in words[::-1]]


@pytest.mark.parametrize("case", GOLDEN["place_words"], ids=str)
def test_the_words_of_a_place_never_change_and_are_keyed_words(case: tuple[list[int], list[int]]) -> None:
    (seed, epoch, position), words = case
    assert Place(seed, epoch, position).words(3) == words
    key = derive_key(seed, Purpose.AUGMENT, epoch)
    assert keyed_words(key, np.array([position]), 3)[0].tolist() == words


def test_parts_in_another_order_number_or_size_give_another_key() -> None:
    parts = [0, 1, -1, 2, 1 << 63, 1 << 64, (1 << 64) - 1, -(1 << 64), 1 << 128, -(1 << 63)]
    asked = [choice for length in range(4) for choice in itertools.product(parts, repeat=length)]
    assert len({derive_key(*choice) for choice in asked}) == len(asked)


def test_a_flipped_bit_of_any_part_flips_half_of_the_key() -> None:
    flips = [
        (derive_key(7, 3, epoch) ^ derive_key(7 ^ (1 << bit), 3, epoch)).bit_count()
        for epoch in range(50)
        for bit in range(64)
    ]
    assert 31.5 < np.mean(flips) < 32.5
    assert min(flips) > 8


def test_the_domains_are_part_of_the_format() -> None:
    assert {domain.name: int(domain) for domain in Purpose} == {
        "ORDER": 1,
        "SHARDS": 2,
        "WINDOW": 3,
        "HELD_OUT": 4,
        "AUGMENT": 5,
        "SUBSTITUTE": 6,
        "PACKING": 7,
        "TRANSFORM": 8,
        "MIXTURE": 9,
    }


def test_each_place_has_a_generator_of_its_own_that_starts_afresh() -> None:
    places = [Place(seed, epoch, position) for seed in (0, 1) for epoch in (0, 1) for position in (0, 1, 10**12)]
    draws = [place.generator().random(4).tolist() for place in places]
    assert len({tuple(draw) for draw in draws}) == len(places)
    assert draws == [place.generator().random(4).tolist() for place in places]


def test_words_are_uniform_bit_by_bit() -> None:
    words = keyed_words(5, np.arange(40_000), 2)
    ones = ((words[:, :, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)).mean(axis=0)
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / np.sqrt(40_000)
    assert abs(np.corrcoef(words[:, 0] / 2.0**64, words[:, 1] / 2.0**64)[0, 1]) < 5 / np.sqrt(40_000)


def test_a_lent_generator_gives_the_numbers_of_one_of_its_own() -> None:
    places = [Place(0, 0, 0), Place(-3, 2, 10**12), Place(2**70, 0, 7), Place(0, 0, 0)]
    for place in places:
        own, lent = place.generator(), place.lend_generator()
        lent.integers(5, dtype=np.int32)  # half a word is left over
        lent = place.lend_generator()
        assert own.random(7).tolist() == lent.random(7).tolist()
        assert own.integers(0, 9, 5, np.int32).tolist() == lent.integers(0, 9, 5, np.int32).tolist()


def test_what_is_lent_to_one_thread_stays_where_it_is_while_another_borrows() -> None:
    place, other = Place(0, 0, 1), Place(0, 0, 2)
    lent = place.lend_generator()
    with ThreadPoolExecutor(1) as pool:
        assert (
            pool.submit(lambda: other.lend_generator().random(3).tolist()).result()
            == other.generator().random(3).tolist()
        )
    assert lent.random(3).tolist() == place.generator().random(3).tolist()
