"""The best way through the states of all rows, where every state has a score and every change of state a cost.

The score of a way is the sum of its states' scores less the costs of its changes. The best way through a state is the
best one up to it and the best one from it on (Viterbi 1967, IEEE Trans. Inf. Theory 13(2), run from both ends), so the
state of every row is known without walking back. Both come from a tree over the rows, all stretches of a length at
once:

    rows       0   1   2   3   4   5   6   7
               └───┘   └───┘   └───┘   └───┘       up: the best ways through each stretch, from state to state
               └───────┘       └───────┘           down: the best ways to where it begins and from where it ends

Scores are rounded to 2⁻¹⁶, and sums of such numbers are exact: the same way is found however rows are put together.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["best_states"]

STEP = 2.0**-16
TREE_ROWS = 4096
"""Rows of one tree; longer sounds have several, one after another."""


def best_states(scores: Tensor, octaves: Tensor, *, jump_cost: float, voicing_cost: float) -> Tensor:
    """The state of each row on the best way, (batch, row) int64.

    `scores` (batch, row, state) are those of the candidates and, last, of having no pitch; `octaves` (batch, row,
    state - 1) the candidates' pitch, log2 Hz. A change of pitch costs `jump_cost` per octave, but not more than that of
    one octave; a beginning or an end of pitch `voicing_cost`.
    """
    scores = (scores / STEP).round().permute(2, 0, 1)
    octaves = octaves.permute(2, 0, 1)
    previous = torch.cat([octaves[..., :1], octaves[..., :-1]], -1)
    num = scores.shape[-1]
    costs = {"jump": jump_cost, "voicing": voicing_cost}
    spans = [slice(first, min(first + TREE_ROWS, num)) for first in range(0, num, TREE_ROWS)]

    def tree(span: slice) -> list[Tensor]:
        return _tree(_steps(scores[..., span], previous[..., span], octaves[..., span], costs))

    before = [torch.zeros_like(scores[..., :1])]
    after = [torch.zeros_like(scores[..., :1])]
    tops = [tree(span)[-1] for span in spans] if len(spans) > 1 else []
    for top in tops[:-1]:
        before.append(_levelled(_through(before[-1], top)))
    for top in reversed(tops[1:]):
        after.append(_levelled(_through(after[-1], top.transpose(0, 1))))
    ways = [
        _best(tree(span), begin, end)[..., : span.stop - span.start]
        for span, begin, end in zip(spans, before, reversed(after), strict=True)
    ]
    return torch.cat(ways, -1)


def _steps(scores: Tensor, previous: Tensor, octaves: Tensor, costs: dict[str, float]) -> Tensor:
    """From each state of the row before to each of a row: (state, state, batch, row), a power of two of rows."""
    jump = (octaves[None] - previous[:, None]).abs().clamp(max=1.0) * costs["jump"]
    change = F.pad(jump, (0, 0, 0, 0, 0, 1, 0, 1), value=costs["voicing"])
    change[-1, -1] = 0.0
    steps = scores[None] - (change / STEP).round()
    num = steps.shape[-1]
    return F.pad(steps, (0, (1 << (num - 1).bit_length()) - num))


def _tree(steps: Tensor) -> list[Tensor]:
    """The best ways through stretches of 1, 2, 4 … rows, from state to state: (state, state, batch, stretch) each."""
    levels = [steps]
    while levels[-1].shape[-1] > 1:
        first, second = levels[-1][..., 0::2], levels[-1][..., 1::2]
        joined = first[:, 0, None] + second[0]
        for state in range(1, len(first)):
            joined = torch.maximum(joined, first[:, state, None] + second[state])
        levels.append(joined - joined.amax((0, 1)))
    return levels


def _best(levels: list[Tensor], before: Tensor, after: Tensor) -> Tensor:
    """The state of each row on the best way, from the best ways to the tree's beginning and from its end."""
    for level in reversed(levels[:-1]):
        first, second = level[..., 0::2], level[..., 1::2]
        before = torch.stack([before, _through(before, first)], -1).flatten(-2)
        after = torch.stack([_through(after, second.transpose(0, 1)), after], -1).flatten(-2)
        before, after = _levelled(before), _levelled(after)
    return (_through(before, levels[0]) + after).argmax(0)


def _through(before: Tensor, steps: Tensor) -> Tensor:
    """The best ways to the end of stretches, (state, batch, stretch), from those to where they begin."""
    best = before[0] + steps[0]
    for state in range(1, len(before)):
        best = torch.maximum(best, before[state] + steps[state])
    return best


def _levelled(scores: Tensor) -> Tensor:
    """Scores less the best one: only differences count, and these stay small."""
    return scores - scores.amax(0)
