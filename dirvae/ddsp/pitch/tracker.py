"""f0 with confidence, for batches of sounds at any sample rate.

    samples ─▶ decimated, without rumble ─▶ n(τ) around each row ─▶ eight lags a row ─▶ the best way ─▶ f0
            └▶ loudness ─▶ gate ──────────────────────────────────────┘            └──▶ confidence

The design follows YIN (de Cheveigné & Kawahara 2002), the autocorrelation tracker of Boersma 1993 (IFA Proceedings 17,
candidates, octave cost, Viterbi) and pYIN (Mauch & Dixon 2014, ICASSP, an unvoiced state beside the candidates).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from ..curve import Curve, exact
from ..loudness import loudness
from ..rows import count_rows, row_samples
from ..sounds import check_rates, check_samples
from .candidates import NUM_CANDIDATES, find_candidates
from .path import best_states
from .periodicity import LagWindow, PreparedSound
from .preparation import DECIMATION_REACH, decimate, decimation, softened, without_rumble

__all__ = ["Pitch", "track_f0"]

UNVOICED = 0.5
"""n(τ) at which having a pitch and having none are equally likely; also the confidence from which a row counts."""

GATE_DB = 10.0
"""From `quietest_db` to this much above it, the gate opens."""

JUMP_COST, VOICING_COST = 0.6, 0.6
"""Of a jump by an octave and of a change between pitch and none, in rows' worth of n(τ) at 250 rows per second."""

COST_RATE = 250
ROWS_PER_BLOCK = 4096
"""Rows whose samples are prepared at a time, and with `ROWS_AT_ONCE` what bounds the memory that is used."""

ROWS_AT_ONCE = 256
"""Rows whose n(τ) is in memory at a time, always as many: an FFT may round differently in another company."""


@dataclass(frozen=True)
class Pitch:
    """What a tracker finds: `f0` in Hz and `confidence` in [0, 1], both curves (batch, row) float32.

    f0 is above 0 in every row: where there is no pitch it leads from the last one to the next one, evenly in
    octaves. Rows count as pitched from a confidence of 0.5 on.
    """

    f0: Curve
    confidence: Curve


@torch.no_grad()
def track_f0(
    samples: Tensor,
    sample_rate: Fraction | float,
    *,
    rate: Fraction | float = 250,
    lowest: float = 40.0,
    highest: float = 2400.0,
    octave_penalty: float = 0.02,
    quietest_db: float = -55.0,
) -> Pitch:
    """The pitch of each sound of (batch, time) samples, at k / rate seconds for row k, a row per control period begun.

    `lowest` and `highest` are in Hz: windows are two periods of the lowest pitch long (50 ms), so a higher one follows
    faster changes and takes less time. `octave_penalty` is how much less periodic an octave higher may be, and still be
    preferred. What is below `quietest_db` (A-weighted, a sine of full scale is 0) has no pitch: digital zero, hum,
    breath.

    The same samples give the same numbers in any batch. Raises `ValueError` for samples of another shape, rates
    and pitches that make no sense.
    """
    check_samples(samples)
    check_rates(sample_rate, rate)
    _check_range(lowest, highest, sample_rate)
    samples = samples.float()
    level = loudness(samples, sample_rate, rate=rate, floor_db=quietest_db - 1)
    gate = ((level.values.double() - quietest_db) / GATE_DB).clamp(0, 1).float()
    octave, strength = _candidates(samples, exact(sample_rate), exact(rate), lowest, highest, octave_penalty)
    strength = strength * gate[..., None]
    middle = 0.5 * (math.log2(lowest) + math.log2(highest))
    scores = strength + octave_penalty * (octave - middle)
    scores = torch.cat([scores, torch.full_like(scores[..., :1], UNVOICED)], -1)
    scale = float(exact(rate)) / COST_RATE
    state = best_states(scores, octave, jump_cost=JUMP_COST * scale, voicing_cost=VOICING_COST * scale)
    is_voiced = state < octave.shape[-1]
    chosen = state.clamp(max=octave.shape[-1] - 1)[..., None]
    confidence = torch.where(is_voiced, strength.gather(2, chosen)[..., 0], 0.5 * strength.amax(2)).clamp(0, 1)
    f0 = _bridged(octave.gather(2, chosen)[..., 0].double(), is_voiced, middle).exp2().float()
    return Pitch(Curve(f0, exact(rate)), Curve(confidence, exact(rate)))


def _candidates(
    samples: Tensor, sample_rate: Fraction, rate: Fraction, lowest: float, highest: float, octave_penalty: float
) -> tuple[Tensor, Tensor]:
    """log2 Hz and n(τ) of eight candidates a row, (batch, row, 8) each."""
    step = decimation(sample_rate)
    slow_rate = sample_rate / step
    lags = LagWindow(math.ceil(slow_rate / exact(lowest)) + 1)
    margin = DECIMATION_REACH + 4 * lags.num_lags
    num_rows = count_rows(samples.shape[1], sample_rate=sample_rate, rate=rate)
    found = []
    per_block = max(1, ROWS_PER_BLOCK // len(samples))
    for first in range(0, num_rows, per_block):
        middles = row_samples(range(first, min(first + per_block, num_rows)), sample_rate=slow_rate, rate=rate)
        begin = max(0, int(middles[0]) - margin)
        block = samples[:, begin * step : (int(middles[-1]) + margin + 1) * step]
        steady = softened(without_rumble(decimate(block, step), lags.num_lags))
        found.append(
            _block_candidates(steady, middles.to(samples.device) - begin, lags, float(slow_rate), highest, octave_penalty)
        )
    return torch.cat([octave for octave, _ in found], 1), torch.cat([strength for _, strength in found], 1)


def _block_candidates(
    steady: Tensor, middles: Tensor, lags: LagWindow, rate: float, highest: float, octave_penalty: float
) -> tuple[Tensor, Tensor]:
    sound = PreparedSound(steady, lags)
    batch, num = len(steady), len(middles)
    total = batch * num
    rows = torch.arange(-(-total // ROWS_AT_ONCE) * ROWS_AT_ONCE, device=steady.device).clamp(max=total - 1)
    octaves, strengths = [], []
    for at_once in rows.split(ROWS_AT_ONCE):
        middle = middles[at_once % num]
        similarity = sound.periodicity(at_once // num, middle)
        found = find_candidates(
            similarity,
            lag_rate=2 * rate,
            shortest=math.floor(2 * rate / highest),
            longest=sound.num_compared(middle).clamp(max=lags.window - 3).float(),
            octave_penalty=octave_penalty,
        )
        octaves.append(found.octave)
        strengths.append(found.strength)
    shape = (batch, num, octaves[0].shape[-1])
    return torch.cat(octaves)[:total].view(shape), torch.cat(strengths)[:total].view(shape)


def _bridged(octave: Tensor, is_voiced: Tensor, fallback: float) -> Tensor:
    """(batch, row) with the rows that are not voiced between their neighbours', by distance; `fallback` without any."""
    num = octave.shape[1]
    rows = torch.arange(num, device=octave.device).expand_as(octave)
    before = torch.where(is_voiced, rows, -1).cummax(1).values
    after = num - 1 - torch.where(is_voiced.flip(1), rows, -1).cummax(1).values.flip(1)
    has_before, has_after = before >= 0, after < num
    left = octave.gather(1, torch.where(has_before, before, after.clamp(max=num - 1)))
    right = octave.gather(1, torch.where(has_after, after, before.clamp(min=0)))
    share = (rows - before) / (after - before).clamp(min=1)
    between = left + (right - left) * torch.where(has_before & has_after, share, 0.0)
    return torch.where(has_before | has_after, between, fallback)


def _check_range(lowest: float, highest: float, sample_rate: Fraction | float) -> None:
    if not 10 <= lowest < highest:
        raise ValueError(
            f"lowest is {lowest} and highest {highest}; pitches in Hz are wanted, 10 at least and in this order."
        )
    if highest > 0.45 * sample_rate:
        raise ValueError(
            f"highest is {highest}; at {float(sample_rate):g} samples per second pitches are found up to "
            f"{0.45 * float(sample_rate):g} Hz. Name a lower one."
        )
