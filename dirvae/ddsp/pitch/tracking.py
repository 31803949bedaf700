"""f0 with confidence, for batches of sounds at any sample rate.

    samples ─▶ decimated, without rumble ─▶ n(τ) around each row ─▶ eight lags a row ─▶ the best way ─▶ f0
            └▶ loudness ─▶ gate ──────────────────────────────────────┘            └──▶ confidence

The design follows YIN (de Cheveigné & Kawahara 2002), the autocorrelation tracker of Boersma 1993 (IFA Proceedings 17:
candidates, octave cost, Viterbi) and pYIN (Mauch & Dixon 2014, ICASSP: no pitch as a state beside the candidates).
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from dirvae.choices import HIGHEST_HZ, LOWEST_HZ
from dirvae.ddsp.curve import Curve, exact
from dirvae.ddsp.loudness import levels_at
from dirvae.ddsp.pitch.candidates import Candidates, find_candidates
from dirvae.ddsp.pitch.contract import CONFIDENT, Pitch
from dirvae.ddsp.pitch.path import best_states
from dirvae.ddsp.pitch.periodicity import PreparedSound
from dirvae.ddsp.pitch.plan import TrackPlan
from dirvae.ddsp.pitch.preparation import decimate, softened, without_rumble
from dirvae.ddsp.sounds import check_rates, check_samples

__all__ = ["HIGHEST_HZ", "LOWEST_HZ", "highest_pitch", "track_f0", "track_planned"]

HIGHEST_SHARE = 0.45
"""Of the sample rate: pitches above are not looked for."""

GATE_DB = 10.0
"""From `quietest_db` to this much above it, the gate opens."""

LARGEST = 2.0**16
"""Samples beyond are cut off there: twice what 16-bit integers, taken as they are, come to."""

ROWS_AT_ONCE = 256
"""Rows whose n(τ) is in memory at a time; always as many, so that every row is computed alike."""


def track_f0(
    samples: Tensor,
    sample_rate: Fraction | float,
    *,
    rate: Fraction | float = 250,
    lowest: float = LOWEST_HZ,
    highest: float = HIGHEST_HZ,
    octave_penalty: float = 0.02,
    quietest_db: float = -55.0,
) -> Pitch:
    """The pitch of each sound of (batch, time) samples, at k / rate seconds for row k, a row per control period begun.

    Pitches from `lowest` to `highest` Hz are looked for, in windows of two periods of the lowest one, 50 ms: a higher
    `lowest` follows faster changes and takes less time. `octave_penalty` is by how much a pitch an octave higher may
    be less periodic, in [0, 1], and still be preferred. What is quieter than `quietest_db` (A-weighted; a sine of
    full scale is 0) has no pitch: digital zero, hum, a quiet room. Every row has an f0; see `Pitch`.

    No gradient flows. The same samples give the same numbers in any batch and with any number of threads. Raises
    `ValueError` for samples of another shape or that are not finite, and for rates and pitches that make no sense:
    sample rates from 1 to 768,000 Hz are taken, and a row per sample at most.
    """
    check_samples(samples)
    check_rates(sample_rate, rate)
    _check_range(lowest, highest, sample_rate)
    _check_levels(octave_penalty, quietest_db)
    if not samples.isfinite().all():
        raise ValueError("samples holds values that are not finite. Replace or leave out what is damaged.")
    plan = TrackPlan.of(
        samples.shape,
        sample_rate,
        rate,
        lowest=lowest,
        highest=highest,
        octave_penalty=octave_penalty,
        quietest_db=quietest_db,
    )
    f0, confidence = track_planned(samples, plan)
    return Pitch(Curve(f0, exact(rate)), Curve(confidence, exact(rate)))


@torch.no_grad()
def track_planned(samples: Tensor, plan: TrackPlan) -> tuple[Tensor, Tensor]:
    """f0 in Hz and confidence of (batch, time) samples, (batch, row) float32 each: `track_f0` but for its checks.

    Nothing but tensors and plain numbers: it can be compiled as a whole.
    """
    samples = samples.float().clamp(-LARGEST, LARGEST)
    found = _candidates(samples, plan)
    strength = found.strength * _gate(samples, plan)[..., None]
    scores = strength + plan.octave_penalty * (found.octave - plan.middle_octave)
    scores = torch.cat([scores, torch.full_like(scores[..., :1], CONFIDENT)], -1)
    state = best_states(scores, found.octave, jump_cost=plan.jump_cost, voicing_cost=plan.voicing_cost)
    is_voiced = state < strength.shape[-1]
    chosen = state.clamp(max=strength.shape[-1] - 1)[..., None]
    confidence = torch.where(is_voiced, strength.gather(2, chosen)[..., 0], 0.5 * strength.amax(2))
    octave = _bridged(found.octave.gather(2, chosen)[..., 0].double(), is_voiced, plan.middle_octave)
    return octave.exp2().float(), confidence.clamp(0, 1)


def _gate(samples: Tensor, plan: TrackPlan) -> Tensor:
    """(batch, row): 0 where it is too quiet for a pitch, 1 where it is loud enough."""
    level = levels_at(samples, plan.centres, window=plan.level_window, sample_rate=plan.sample_rate)
    return ((level.double() - plan.quietest_db) / GATE_DB).clamp(0, 1).float()


def _candidates(samples: Tensor, plan: TrackPlan) -> Candidates:
    """The candidates of all rows, (batch, row, candidate), block by block."""
    found = []
    for block in plan.blocks:
        part = samples[:, block.begin * plan.step : block.end * plan.step]
        steady = softened(without_rumble(decimate(part, plan.step), plan.lags.num_lags))
        middles = plan.middles[block.first_row : block.end_row].to(samples.device) - block.begin
        found.append(_block_candidates(PreparedSound(steady, plan.lags), middles, plan))
    return Candidates.joined(found, 1)


def _block_candidates(sound: PreparedSound, middles: Tensor, plan: TrackPlan) -> Candidates:
    """Those of the rows around `middles` (row,), the rows of all sounds in one line."""
    batch, num = sound.batch, len(middles)
    rows = torch.arange(-(-batch * num // ROWS_AT_ONCE) * ROWS_AT_ONCE, device=middles.device)
    found = []
    for at_once in torch.split(rows.clamp(max=batch * num - 1), ROWS_AT_ONCE):
        middle = middles[at_once % num]
        candidates = find_candidates(
            sound.periodicity(at_once // num, middle),
            step_rate=2 * plan.kept_rate,
            highest=plan.highest,
            longest=sound.num_compared(middle),
            octave_penalty=plan.octave_penalty,
        )
        found.append(candidates)
    joined = Candidates.joined(found, 0)
    octave, strength = joined.octave[: batch * num], joined.strength[: batch * num]
    return Candidates(octave.view(batch, num, -1), strength.view(batch, num, -1))


def _bridged(octave: Tensor, is_voiced: Tensor, fallback: float) -> Tensor:
    """(batch, row) with the rows that are not voiced between their neighbours', by distance; `fallback` without any."""
    num = octave.shape[1]
    rows = torch.arange(num, device=octave.device).expand_as(octave)
    before = torch.where(is_voiced, rows, -1).cummax(1).values
    after = num - 1 - torch.where(is_voiced.flip(1), rows, -1).cummax(1).values.flip(1)
    has_before, has_after = before >= 0, after < num
    left = octave.gather(1, torch.where(has_before, before, after).clamp(0, num - 1))
    right = octave.gather(1, torch.where(has_after, after, before).clamp(0, num - 1))
    share = torch.where(has_before & has_after, (rows - before) / (after - before).clamp(min=1), 0.0)
    return torch.where(has_before | has_after, left + (right - left) * share, fallback)


def highest_pitch(sample_rate: Fraction | float, wanted: float = HIGHEST_HZ) -> float:
    """The highest pitch in Hz that can be looked for at a sample rate, at most the one that is wanted."""
    return min(wanted, HIGHEST_SHARE * float(sample_rate))


def _check_range(lowest: float, highest: float, sample_rate: Fraction | float) -> None:
    most = HIGHEST_SHARE * float(sample_rate)
    for name, hz in (("lowest", lowest), ("highest", highest)):
        exact(hz, name)
    if not 10 <= lowest < highest:
        raise ValueError(
            f"lowest is {lowest} and highest {highest}; they must be pitches in Hz, 10 or more, the lower one first."
        )
    if highest > most:
        raise ValueError(
            f"highest is {highest}; at {float(sample_rate):g} samples per second it must be {most:g} Hz or lower."
        )


def _check_levels(octave_penalty: float, quietest_db: float) -> None:
    if not 0 <= exact(octave_penalty, "octave_penalty") <= 1:
        raise ValueError(f"octave_penalty is {octave_penalty}; it must be a periodicity, from 0 to 1.")
    exact(quietest_db, "quietest_db")
