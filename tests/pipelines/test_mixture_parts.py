"""Mixtures: what is refused and with which words, and what goes through one."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipelines import ExampleError, ImageIterator, MixedIterator, StateError, mix
from pipelines.testing import assert_resumes_exactly

from .lettered import letters, rows, three

Fixture = Callable[..., Any]


@pytest.mark.parametrize(
    "weights",
    [(1, 1), (1, 1, 1, 1), (1, 0, 1), (1, -1, 1), (1, float("nan"), 1), (1, float("inf"), 1), ((1,) * 3,) * 3],
)
def test_weights_that_make_no_sense_are_refused_with_their_number(weights: Any) -> None:
    with pytest.raises(ValueError, match=r"weights are .*; there must be 3"):
        three(weights)


def test_no_iterators_other_shapes_and_other_fields_are_refused(picture_folder: Fixture) -> None:
    folder = picture_folder(4)
    with pytest.raises(ValueError, match="no iterators"):
        mix([])
    with pytest.raises(ValueError, match=r"\(3, 8, 8\).*\(3, 9, 9\)"):
        mix([ImageIterator(folder, size=8), ImageIterator(folder, size=9)])
    with pytest.raises(ValueError, match="different fields"):
        mix([ImageIterator(folder, size=8, fields=["cls"]), ImageIterator(folder, size=8)])


def changed(**entries: Any) -> dict[str, Any]:
    mixture = three()
    next(iter(mixture))
    return {**mixture.state_dict(), **entries}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (changed(seed=3), "seed=3"),
        (changed(sources=changed()["sources"][:2]), "over 2 sources, here are 3"),
        (changed(position=70), "position 70 lies outside"),
        (changed(origin=9), "position 4 lies outside"),
        (changed(position=-1), "position is -1"),
        (changed(version=99), "version 99"),
        (letters().state_dict(), "lacks"),
        (changed(sources=None), "sources"),
        (changed(quotas=7), "quotas"),
        (changed(sources=[{}, {}, {}]), "letters a: the state lacks"),
    ],
    ids=["seed", "fewer", "behind", "origin", "negative", "version", "single", "none", "quotas", "empty"],
)
def test_a_state_of_another_mixture_is_refused_and_changes_nothing(state: Any, message: str) -> None:
    mixture = three()
    rows(itertools.islice(mixture, 3))
    before, rest = mixture.state_dict(), rows(copy.deepcopy(mixture))
    with pytest.raises(StateError, match=message):
        mixture.load_state_dict(state)
    assert mixture.state_dict() == before
    assert rows(mixture) == rest


def test_the_source_that_differs_is_named_with_what_differs() -> None:
    state = three().state_dict()
    with pytest.raises(StateError, match=r"letters a: .*seed=0 \(now 5\)"):
        three(seeds=5).load_state_dict(state)
    other = mix([letters("a", 23, seed=0), letters("b", 41, seed=1), letters("c", 7, seed=2)], batch_size=4)
    with pytest.raises(StateError, match=r"letters b: .*over 40 examples .* 41 others"):
        other.load_state_dict(state)
    swapped = mix([letters("b", 40, seed=0), letters("a", 23, seed=1), letters("c", 7, seed=2)], batch_size=4)
    with pytest.raises(StateError, match="letters b"):
        swapped.load_state_dict(state)


# What goes through a mixture


def test_each_source_has_its_own_transform_keyed_by_its_own_place() -> None:
    def stamp(value: int) -> Callable[..., Any]:
        return lambda array, rng, example: np.append(array, [value, rng.integers(1 << 30)])

    def parts() -> list[Any]:
        return [letters("a", 11, transform=stamp(1), seed=1), letters("b", 8, transform=stamp(2), seed=2)]

    mixture = mix(parts(), [1, 1], batch_size=5, threads=3)
    found = np.concatenate([batch.data for _ in range(3) for batch in mixture])
    for number, iterator in enumerate(parts(), 1):
        mine = found[found[:, 3] == number]
        expected = np.concatenate([batch.data for _ in range(5) for batch in iterator])
        assert np.array_equal(mine, expected[: len(mine)])
        assert len(mine) > 20


def test_substitutes_come_from_the_same_source_and_move_nothing_else() -> None:
    def make(broken: tuple[int, ...] = (2, 5, 9), **settings: Any) -> MixedIterator:
        parts = [
            letters("a", 12, on_error="substitute", broken=broken, seed=1),
            letters("b", 9, seed=2),
        ]
        return mix(parts, [1, 1], **{"batch_size": 4, "threads": 2, **settings})

    clean, found = make(()), make()
    for expected, batch in zip(clean, found, strict=True):
        for slot, stands_in in enumerate(batch.substituted):
            assert stands_in == (expected.keys[slot] in ("a2", "a5", "a9"))
            assert batch.keys[slot][0] == expected.keys[slot][0]
            assert stands_in or batch.keys[slot] == expected.keys[slot]
    assert found.state_dict()["substitutions"] == 3 == found.stats.substituted
    variations = [{"threads": 1}, {"threads": 5, "batch_size": 9}]
    assert assert_resumes_exactly(make, variations=variations) > 20


def test_a_source_that_raises_beside_one_that_substitutes_still_raises() -> None:
    parts = [letters("a", 12, on_error="substitute", broken=(1,)), letters("b", 9, broken=(3,))]
    with pytest.raises(ExampleError, match=r"b\.tar: example 'b3'"):
        rows(mix(parts, [1, 1], threads=2))


def test_shards_and_a_folder_mix_and_resume(picture_folder: Fixture, picture_shards: Fixture) -> None:
    folder, shards = picture_folder(9), picture_shards([6, 5])
    for number in range(9):
        (folder / f"{number:04d}.cls").write_text(str(100 + number))
    kinds = {"size": 8, "shuffle": True, "crop": "random", "flip": True, "fields": ["cls"]}

    def make(**settings: Any) -> MixedIterator:
        parts = [ImageIterator(folder, **kinds, seed=1), ImageIterator(shards, **kinds, seed=2)]
        return mix(parts, [1, 1], **{"batch_size": 4, "threads": 2, **settings})

    mixture = make()
    labels = [int(label) for _ in range(3) for batch in mixture for label in batch.fields["cls"]]
    assert len(labels) == 60
    assert set(labels) == {*range(11), *range(100, 109)}
    assert assert_resumes_exactly(make, variations=[{"threads": 1}], epochs=2, every=3) == 4


def test_the_statistics_of_a_mixture_count_all_of_its_sources() -> None:
    mixture = three((1, 1, 1))
    media = sum(len(key) - 1 for key, _ in rows(mixture))
    stats = mixture.stats
    assert (stats.examples, stats.batches, stats.bytes) == (70, 18, media)
    assert stats.decode_seconds > 0
    assert stats.read_seconds > 0
