"""Which rank takes what: every position once, every rank as many steps, whatever the sizes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from pipelines.order.ranks import RankSplit


def splits(batch_size: int, world_size: int, groups: int, tail: Any) -> list[RankSplit]:
    return [RankSplit(batch_size, rank, world_size, groups, tail) for rank in range(world_size)]


def play(ranks: list[RankSplit], num: int, start: int = 0) -> list[list[tuple[list[int], list[bool] | None]]]:
    """For each step, the positions and mask of each rank."""
    steps = {rank.num_batches(start, num) for rank in ranks}
    assert len(steps) == 1, "ranks take different numbers of steps"
    played = []
    for step in range(steps.pop()):
        cuts = [rank.positions(start + step * ranks[0].global_batch, num) for rank in ranks]
        played.append([(positions.tolist(), None if mask is None else mask.tolist()) for positions, mask in cuts])
    return played


CASES = [
    (batch_size, world_size, groups, tail, num)
    for batch_size, world_size, groups, tail, num in itertools.product(
        (1, 3, 4, 6), range(1, 9), (1, 2, 4, 6), ("keep", "pad", "drop"), (0, 1, 5, 8, 24, 49, 100)
    )
    if batch_size * world_size % groups == 0 and not (tail == "keep" and world_size > 1)
]


def test_every_position_is_taken_once_at_every_size_tail_and_number_of_groups() -> None:
    assert len(CASES) > 1000
    for batch_size, world_size, groups, tail, num in CASES:
        case = f"batch_size={batch_size} world_size={world_size} groups={groups} tail={tail} num={num}"
        taken: list[int] = []
        for step in play(splits(batch_size, world_size, groups, tail), num):
            for positions, mask in step:
                real = mask or [True] * len(positions)
                taken += [position for position, is_real in zip(positions, real, strict=True) if is_real]
                assert set(positions) <= set(range(num)), case
                assert len(positions) == batch_size or tail == "keep", case
                assert positions, case
        whole = num - num % (batch_size * world_size) if tail == "drop" else num
        assert sorted(taken) == list(range(whole)), case


def test_global_batches_are_consecutive_whatever_the_ranks() -> None:
    for batch_size, world_size, groups, tail, num in CASES:
        ranks = splits(batch_size, world_size, groups, tail)
        for number, step in enumerate(play(ranks, num)):
            real = [
                p
                for positions, mask in step
                for p, m in zip(positions, mask or positions, strict=True)
                if m is not False
            ]
            begin = number * ranks[0].global_batch
            assert sorted(set(real)) == list(range(begin, min(num, begin + ranks[0].global_batch)))


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_without_groups_each_rank_takes_its_contiguous_block(world_size: int) -> None:
    for step, cuts in enumerate(play(splits(4, world_size, 1, "drop"), 100)):
        for rank, (positions, _) in enumerate(cuts):
            begin = (step * world_size + rank) * 4
            assert positions == list(range(begin, begin + 4))


@pytest.mark.parametrize(("world_size", "groups"), [(2, 2), (2, 4), (4, 4), (3, 6), (2, 6)])
def test_with_groups_a_rank_keeps_to_its_own_streams(world_size: int, groups: int) -> None:
    played = play(splits(12, world_size, groups, "pad"), 12 * world_size * 3)
    for rank in range(world_size):
        streams = {position % groups for step in played for position in step[rank][0]}
        assert streams == set(range(rank * groups // world_size, (rank + 1) * groups // world_size))


def test_the_mask_is_absent_where_all_are_real_and_marks_repetitions_elsewhere() -> None:
    for batch_size, world_size, groups, tail, num in CASES:
        if tail != "pad":
            continue
        for step in play(splits(batch_size, world_size, groups, tail), num):
            for positions, mask in step:
                if mask is None:
                    assert len(set(positions)) == batch_size
                    continue
                assert len(mask) == batch_size
                assert not all(mask)
                assert mask == sorted(mask, reverse=True), "padding comes last"
                real = positions[: sum(mask)]
                assert len(set(real)) == len(real)


def test_the_last_batch_is_smaller_only_where_it_may_be() -> None:
    sizes = {
        tail: [len(step[0][0]) for step in play(splits(4, 1, 1, tail), 10)] for tail in ("keep", "pad", "drop")
    }
    assert sizes == {"keep": [4, 4, 2], "pad": [4, 4, 4], "drop": [4, 4]}


@pytest.mark.parametrize("start", [0, 1, 6, 7, 12, 30])
def test_another_world_size_can_go_on_from_any_position(start: int) -> None:
    for world_size, groups in itertools.product(range(1, 5), (1, 2)):
        if 6 * world_size % groups:
            continue
        played = play(splits(6, world_size, groups, "pad"), 31, start)
        real = [
            p for step in played for ps, mask in step for p, m in zip(ps, mask or ps, strict=True) if m is not False
        ]
        assert sorted(real) == list(range(start, 31))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": -3}, "batch_size is -3"),
        ({"batch_size": 2, "world_size": 0}, "world_size is 0"),
        ({"batch_size": 2, "groups": 0}, "groups is 0"),
        ({"batch_size": 2, "rank": 2, "world_size": 2, "tail": "pad"}, "rank is 2"),
        ({"batch_size": 2, "rank": -1, "world_size": 2, "tail": "pad"}, "rank is -1"),
        ({"batch_size": 2, "tail": "wrap"}, "tail is 'wrap'"),
        ({"batch_size": 2, "world_size": 2, "tail": "keep"}, "keep"),
        ({"batch_size": 3, "groups": 2}, "groups is 2"),
    ],
)
def test_impossible_splits_are_refused_by_name(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        RankSplit(**arguments)


def resolve(**given: Any) -> RankSplit:
    return RankSplit.resolve(4, **{"rank": None, "world_size": None, "groups": 1, "tail": None, **given})


def test_one_process_keeps_its_tail_and_several_pad_theirs() -> None:
    assert resolve() == RankSplit(4, 0, 1, 1, "keep")
    assert resolve(rank=1, world_size=3) == RankSplit(4, 1, 3, 1, "pad")
    assert resolve(rank=0, world_size=1, tail="drop") == RankSplit(4, 0, 1, 1, "drop")


def test_several_launched_processes_without_a_rank_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match=r"WORLD_SIZE=4.*rank"):
        resolve()
    assert resolve(rank=2) == RankSplit(4, 2, 4, 1, "pad")
    assert resolve(rank=0, world_size=1) == RankSplit(4, 0, 1, 1, "keep")
    with pytest.raises(ValueError, match="world_size=2"):
        resolve(world_size=2)


@pytest.mark.parametrize("value", ["1", "", "nonsense"])
def test_a_launcher_that_started_one_process_changes_nothing(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", value)
    assert resolve() == RankSplit(4, 0, 1, 1, "keep")


def test_positions_are_whole_numbers_of_64_bits_far_beyond_32() -> None:
    positions, mask = RankSplit(4, 1, 2, 1, "pad").positions(10**12, 10**12 + 100)
    assert positions.dtype == np.int64
    assert mask is None
    assert positions.tolist() == [10**12 + 4 + i for i in range(4)]
