"""Held-out splits and selections: disjoint, complete, and the same after data was appended."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from time import monotonic
from typing import Any

import numpy as np
import pytest

from pipelines import Example, Source, SourceError, hold_out
from pipelines.sources import Selection


class Blocks(Source):
    """Examples that are their own numbers, in shards of given sizes."""

    name = "blocks"

    def __init__(self, counts: Sequence[int]) -> None:
        self._counts = np.array(counts, np.int64)

    def __len__(self) -> int:
        return int(self._counts.sum())

    @property
    def shard_counts(self) -> Any:
        return self._counts

    def prefix_hash(self, examples: int) -> str | None:
        return f"{examples:032x}" if examples in np.cumsum(self._counts) else None

    def read(self, indices: Sequence[int]) -> list[Example]:
        return [Example(int(index), str(index), b"") for index in indices]


def members(source: Source) -> list[int]:
    return [example.index for example in source.read(range(len(source)))]


@pytest.mark.parametrize("fraction", [0.01, 0.07, 0.1, 0.25, 1 / 3, 0.5, 0.9, 0.999])
def test_of_each_shard_the_ceiling_of_its_share_is_held_out_and_the_parts_are_disjoint(fraction: float) -> None:
    counts = [100, 1, 37, 200, 0, 1000, 3]
    rest, held = hold_out(Blocks(counts), fraction, seed=5)
    assert sorted(members(rest) + members(held)) == list(range(sum(counts)))
    shard_of = np.repeat(np.arange(len(counts)), counts)
    found = np.bincount(shard_of[members(held)], minlength=len(counts)).tolist()
    exact = Fraction(fraction).limit_denominator(10**6)
    assert found == [ceil(count * exact) for count in counts]
    assert held.shard_counts.tolist() == found
    assert members(held) == sorted(members(held))


def test_appended_shards_move_no_example_from_one_part_to_the_other() -> None:
    before = [set(members(part)) for part in hold_out(Blocks([40, 30, 7]), 0.15, seed=1)]
    after = [set(members(part)) for part in hold_out(Blocks([40, 30, 7, 500, 3]), 0.15, seed=1)]
    assert before[0] <= after[0]
    assert before[1] <= after[1]


@pytest.mark.parametrize("counts", [[10, 1], [10, 5], [10, 1, 1]])
def test_appended_shards_leave_the_hashes_of_both_parts_alone(counts: list[int]) -> None:
    before, after = hold_out(Blocks(counts), 0.1), hold_out(Blocks([*counts, 10]), 0.1)
    for old, new in zip(before, after, strict=True):
        assert new.prefix_hash(len(old)) == old.data_hash != new.data_hash


def test_another_seed_or_side_is_another_part_with_another_hash() -> None:
    parts = [part for seed in (0, 1) for part in hold_out(Blocks([200]), 0.2, seed=seed)]
    assert len({part.data_hash for part in parts}) == 4
    assert members(parts[1]) != members(parts[3])
    assert hold_out(Blocks([200]), 0.3)[1].data_hash not in {part.data_hash for part in parts}


def test_a_tiny_share_of_a_large_shard_is_found_without_drawing_all_of_it() -> None:
    begun = monotonic()
    rest, held = hold_out(Blocks([10**9]), 1e-6, seed=3)
    assert (len(held), len(rest)) == (1000, 10**9 - 1000)
    assert len(set(members(held))) == 1000
    assert rest[10**9 - 1001].index < 10**9
    assert monotonic() - begun < 5


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_shares_outside_of_nought_and_one_are_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        hold_out(Blocks([10]), fraction)


def test_holding_out_everything_is_refused() -> None:
    with pytest.raises(SourceError, match="leaves none"):
        hold_out(Blocks([1, 1]), 0.5)


def test_a_selection_holds_the_chosen_examples_in_the_chosen_order() -> None:
    source = Blocks([5, 5])
    assert members(Selection(source, [7, 0, 7, 3])) == [7, 0, 7, 3]
    assert members(Selection(source, range(9, 2, -3))) == [9, 6, 3]
    assert members(Selection(source, np.array([1, 2]))) == [1, 2]
    hashes = {Selection(source, chosen).data_hash for chosen in ([1, 2], [2, 1], [1], range(2), range(1, 3))}
    assert len(hashes) == 5
    for wrong in ([10], [-1], range(8, 11), range(0, -2, -1)):
        with pytest.raises(IndexError, match="of 10"):
            Selection(source, wrong)
    for empty in ([], range(3, 3)):
        with pytest.raises(SourceError, match="empty"):
            Selection(source, empty)


def test_a_range_of_a_thousand_million_costs_nothing() -> None:
    begun = monotonic()
    selection = Selection(Blocks([2 * 10**9]), range(10**9, 2 * 10**9))
    assert selection[-1].index == 2 * 10**9 - 1
    assert monotonic() - begun < 1
