"""The best way through the candidates: what a plain walk forwards and back finds, however rows are put together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dirvae.ddsp.pitch import path
from dirvae.ddsp.pitch.path import best_states


def walk(scores: np.ndarray, octaves: np.ndarray, jump_cost: float, voicing_cost: float) -> list[int]:
    """Viterbi row by row with pointers back, in whole numbers of 2⁻¹⁶: (row, state) and (row, state - 1)."""
    whole = np.rint(scores.astype(np.float32) / 2.0**-16).astype(np.int64)
    best, pointers = whole[0], []
    for row in range(1, len(whole)):
        cost = np.zeros((scores.shape[1],) * 2)
        jump = np.minimum(np.abs(octaves[row][None] - octaves[row - 1][:, None]), np.float32(1))
        cost[:-1, :-1] = jump * np.float32(jump_cost)
        cost[-1, :-1] = cost[:-1, -1] = voicing_cost
        ways = best[:, None] - np.rint(cost.astype(np.float32) / 2.0**-16).astype(np.int64)
        pointers.append(ways.argmax(0))
        best = ways.max(0) + whole[row]
    states = [int(best.argmax())]
    for pointer in reversed(pointers):
        states.append(int(pointer[states[-1]]))
    return states[::-1]


@pytest.mark.parametrize("num", [1, 2, 3, 64, 501])
@pytest.mark.parametrize("tree_rows", [1, 16, 4096])
def test_it_is_the_way_that_a_walk_finds(num: int, tree_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "TREE_ROWS", tree_rows)
    if num > 64 and tree_rows == 1:
        num = 40
    rng = np.random.default_rng(num)
    scores = rng.random((3, num, 5)).astype(np.float32)
    octaves = (6 + 4 * rng.random((3, num, 4))).astype(np.float32)
    found = best_states(torch.tensor(scores), torch.tensor(octaves), jump_cost=0.4, voicing_cost=0.3)
    assert found.tolist() == [walk(*sound, 0.4, 0.3) for sound in zip(scores, octaves, strict=True)]


def test_a_short_slip_to_the_octave_below_is_not_followed_and_a_long_one_is() -> None:
    octaves = torch.tensor([8.0, 7.0]).expand(1, 200, 2)
    for length, expected in ((3, {0}), (60, {0, 1})):
        scores = torch.tensor([0.9, 0.8, 0.5]).repeat(1, 200, 1)
        scores[:, 50 : 50 + length] = torch.tensor([0.8, 0.9, 0.5])
        found = best_states(scores, octaves, jump_cost=0.6, voicing_cost=0.6)
        assert set(found[0].tolist()) == expected
