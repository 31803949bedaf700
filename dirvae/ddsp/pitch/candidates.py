"""The lags at which a sound comes closest to repeating, row by row, each measured as finely as the sound allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["NUM_CANDIDATES", "Candidates", "find_candidates"]

NUM_CANDIDATES = 8
LEAST_SHARE = 0.85
"""Of the first peak's height, which a peak at a multiple of its lag must have to be measured there."""

DOUBLINGS = 6
NONE = -1.0
"""The strength of a candidate that is not there."""


@dataclass(frozen=True)
class Candidates:
    """Up to eight lags a row, (…, row, 8) each: `octave`, log2 of the frequency in Hz; `strength`, n(τ) at the peak.

    Those that are not there have the strength −1 and stand at the lowest pitch.
    """

    octave: Tensor
    strength: Tensor

    @staticmethod
    def joined(parts: Sequence[Candidates], axis: int) -> Candidates:
        """Those of several stretches, one after another along an axis."""
        return Candidates(
            torch.cat([part.octave for part in parts], axis), torch.cat([part.strength for part in parts], axis)
        )


def find_candidates(
    similarity: Tensor, *, step_rate: float, highest: float, longest: Tensor, octave_penalty: float
) -> Candidates:
    """The eight highest peaks of n(τ) (row, step), a longer lag standing back by `octave_penalty` per octave.

    `step_rate` is how many steps of τ a second has; pitches above `highest` Hz and lags above `longest` (row,) steps
    are left out. A peak's place is the top of the curve through its neighbours, then the same at twice, four times …
    its lag, where a step is a smaller part of it, as long as the sound repeats there nearly as well.
    """
    first = max(2, math.floor(step_rate / highest))
    longest = longest[:, None].clamp(max=similarity.shape[1] - 3)
    score, peak = _ranked(similarity[:, first - 1 : -1], first, longest, octave_penalty)
    lag, strength = _top_of_five(similarity, peak)
    is_there = score.isfinite()
    lag = _measured_at_multiples(similarity, lag, strength, longest)
    octave = (step_rate / lag.double()).log2().to(similarity.dtype)
    lowest = math.log2(step_rate / similarity.shape[1])
    return Candidates(torch.where(is_there, octave, lowest), torch.where(is_there, strength, NONE))


def _ranked(similarity: Tensor, first: int, longest: Tensor, octave_penalty: float) -> tuple[Tensor, Tensor]:
    """Scores and places of the highest peaks, (row, candidate) each; a score of -inf where there are fewer.

    `similarity` begins a step before `first`, the shortest lag. Peaks are compared by the tops of their parabolas:
    one that falls between two steps would otherwise be beaten by another at a multiple of its lag.
    """
    before, here, after = similarity[:, :-2], similarity[:, 1:-1], similarity[:, 2:]
    lags = torch.arange(first, first + here.shape[1], device=similarity.device)
    penalty = (octave_penalty * lags.double().log2()).to(similarity.dtype)
    slope = after - before
    bend = (here - before).add_(here).sub_(after)
    is_peak = (slope.abs() <= bend).logical_and_(lags <= longest)
    height = slope.square_().div_(bend.mul_(8).clamp_(min=1e-9)).add_(here).sub_(penalty)
    score, place = torch.where(is_peak, height, float("-inf")).topk(min(NUM_CANDIDATES, here.shape[1]))
    return score, place + first


def _measured_at_multiples(similarity: Tensor, lag: Tensor, strength: Tensor, longest: Tensor) -> Tensor:
    """The lags (row, candidate), measured where they are longer, too."""
    multiple, is_open = torch.ones_like(lag), torch.ones_like(lag, dtype=torch.bool)
    most = (longest / lag).floor()
    for step in range(DOUBLINGS):
        following = 2 * multiple if step < DOUBLINGS - 1 else most
        found, height = _peak_near(similarity, following * lag)
        is_open &= (following <= most) & (height >= LEAST_SHARE * strength)
        lag = torch.where(is_open, found / following, lag)
        multiple = torch.where(is_open, following, multiple)
        if step == DOUBLINGS - 2:
            is_open = most > multiple
    return lag


def _peak_near(similarity: Tensor, lag: Tensor) -> tuple[Tensor, Tensor]:
    """Place and height of the highest of three steps around `lag`; a height of −1 where it is no peak."""
    centre = lag.round().long().clamp(2, similarity.shape[1] - 3)
    around = [similarity.gather(1, centre + offset) for offset in (-1, 0, 1)]
    peak = centre - ((around[0] > around[1]) & (around[0] >= around[2])).long()
    peak += ((around[2] > around[1]) & (around[2] > around[0])).long()
    place, height = _top(similarity, peak)
    is_peak = (place - peak).abs() <= 0.5
    return place, torch.where(is_peak, height, NONE)


def _top(similarity: Tensor, peak: Tensor) -> tuple[Tensor, Tensor]:
    """Place and height of the parabola through the values at `peak` (row, candidate) and on both sides."""
    before, here, after = (similarity.gather(1, peak + offset) for offset in (-1, 0, 1))
    slope = 0.5 * (after - before)
    bend = (2 * here - before - after).clamp(min=1e-9)
    offset = slope / bend
    return peak + offset, here + 0.5 * slope * offset


def _top_of_five(similarity: Tensor, peak: Tensor) -> tuple[Tensor, Tensor]:
    """Place and height of the quartic through five values around `peak`: a parabola is too low for narrow peaks."""
    y0, y1, y2, y3, y4 = (similarity.gather(1, peak + offset) for offset in (-2, -1, 0, 1, 2))
    odd, even = y3 - y1, y3 + y1
    far_odd, far_even = y4 - y0, y4 + y0
    slope = (8 * odd - far_odd) / 12
    bend = (16 * even - far_even - 30 * y2) / 24
    skew = (far_odd - 2 * odd) / 12
    flat = (far_even - 4 * even + 6 * y2) / 24
    offset = -0.5 * slope / bend.clamp(max=-1e-9)
    for _ in range(2):  # Newton's steps towards where the derivative is 0
        first = slope + offset * (2 * bend + offset * (3 * skew + offset * 4 * flat))
        second = 2 * bend + offset * (6 * skew + offset * 12 * flat)
        offset = (offset - first / second.clamp(max=-1e-9)).clamp(-1, 1)
    height = y2 + offset * (slope + offset * (bend + offset * (skew + offset * flat)))
    return peak + offset, height
