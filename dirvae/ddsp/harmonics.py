"""A bank of harmonic oscillators: sines at whole multiples of a fundamental (Engel et al. 2020, arXiv 2001.04643).

f0 is made one value per sample by straight lines in Hz between its rows, amplitudes by overlapping Hann windows, each
curve at its own rate. f0 must be above 0 also where there is no pitch: fill gaps before, and let amplitudes be 0 there.
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn

from dirvae.ddsp.block import Block
from dirvae.ddsp.curve import Curve, at_least_single, exact, exact_rate
from dirvae.ddsp.envelopes import upsample_linear
from dirvae.ddsp.harmonic_sum import harmonic_sum
from dirvae.float64 import wide, wide_device

__all__ = ["HarmonicBank", "harmonic_amplitudes", "harmonic_bank", "phase_to_turns", "turns_to_phase"]


def harmonic_bank(
    f0: Curve, amplitudes: Curve, block: Block, *, phase: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Σ_j a_j sin(2π j φ): (batch, time) in the dtype of the amplitudes, and the phase behind the last sample.

    f0          (batch, row) Hz, at any rate
    amplitudes  (batch, row, harmonic), linear, at any rate; harmonic j = 1, 2, … on the last axis. Use
                `harmonic_amplitudes` to silence what would lie above half the sample rate
    phase       (batch,) int64, turns · 2^64, of the first sample; 0 by default. Give the phase that was returned to
                the next block: blocks then sound as the whole does
    φ(n)        phase + Σ_(m<n) f0(m) / sample_rate, exact: it does not drift, however long the sound

    Differentiable once in f0 and amplitudes. Memory grows with rows times harmonics, not with samples times harmonics.
    Raises `ValueError` for shapes that do not fit.
    """
    if f0.values.ndim != 2:
        raise ValueError(
            f"f0 has values of shape {tuple(f0.values.shape)}; (batch, row) is needed, one frequency per row."
        )
    if amplitudes.values.ndim != 3 or not amplitudes.values.shape[2] or len(amplitudes.values) != len(f0.values):
        raise ValueError(
            f"amplitudes has values of shape {tuple(amplitudes.values.shape)}; (batch, row, 1 harmonic or more) with "
            f"f0's batch of {len(f0.values)} is needed."
        )
    if phase is None:
        phase = torch.zeros(len(f0.values), dtype=torch.int64, device=f0.values.device)
    if phase.dtype != torch.int64 or phase.shape != f0.values.shape[:1]:
        raise ValueError(
            f"phase is {phase.dtype} of shape {tuple(phase.shape)}; it is int64 of shape ({len(f0.values)},): pass on "
            "what harmonic_bank returned, or turns_to_phase(turns)."
        )
    hz = upsample_linear(Curve(wide(f0.values), f0.rate, f0.start), block)
    cycles = hz * (block.sample_rate.denominator / block.sample_rate.numerator)
    start, positions = phase.to(cycles.device), block.rows_of(amplitudes)
    sound, last = harmonic_sum(cycles, at_least_single(amplitudes.values), start, positions)
    return sound, last.to(phase.device)


def harmonic_amplitudes(
    f0: Curve, amplitude: Curve, distribution: Curve, *, sample_rate: Fraction | float
) -> Curve:
    """Amplitude of each harmonic, none of them ever above half the sample rate: a curve at the distribution's rate.

    f0            (batch, row) Hz, at any rate
    amplitude     (batch, row), not below 0: the sum of a row's amplitudes; at the distribution's rate and start
    distribution  (batch, row, harmonic), not below 0: shares, scaled here to the sum of 1 over those that are heard

    A harmonic is left out of a row where it would reach half the sample rate at any moment between the two rows
    beside it, which is as long as the row sounds; the rest is scaled after that. A row without any is silent.
    f0 below 0 counts by its size. Raises `ValueError` for shapes that do not fit, and for amplitudes at other moments
    than the distribution.
    """
    if distribution.values.ndim != 3 or not distribution.values.shape[2]:
        raise ValueError(
            f"distribution has values of shape {tuple(distribution.values.shape)}; (batch, row, 1 harmonic or more) is "
            "needed."
        )
    if f0.values.ndim != 2 or len(f0.values) != len(distribution.values):
        raise ValueError(
            f"f0 has values of shape {tuple(f0.values.shape)}; (batch, row) with the distribution's batch of "
            f"{len(distribution.values)} is needed."
        )
    if (amplitude.rate, amplitude.start) != (distribution.rate, distribution.start):
        raise ValueError(
            f"amplitude has {amplitude.rate} rows per second from {amplitude.start} s, distribution "
            f"{distribution.rate} from {distribution.start} s; both must have the same."
        )
    if amplitude.values.shape != distribution.values.shape[:2]:
        raise ValueError(
            f"amplitude has values of shape {tuple(amplitude.values.shape)}; a distribution of shape "
            f"{tuple(distribution.values.shape)} needs {tuple(distribution.values.shape[:2])}."
        )
    shares = distribution.values
    numbers = torch.arange(1, shares.shape[2] + 1, dtype=torch.float64, device=wide_device(shares.device))
    nyquist = float(exact(sample_rate) / 2)
    is_heard = wide(_highest_f0(f0, distribution)[..., None]) * numbers < nyquist
    shares = torch.where(is_heard.to(shares.device), shares, 0)
    total = shares.sum(2, keepdim=True)
    shares = shares / torch.where(total > 0, total, 1)
    return Curve(shares * amplitude.values[..., None], distribution.rate, distribution.start)


def _highest_f0(f0: Curve, rows: Curve) -> Tensor:
    """The highest |f0| from the row before to the row after each row of `rows`, by time: (batch, row), no gradient.

    Where these moments fall between two rows of f0, both count.
    """
    ratio = f0.rate / rows.rate
    offset = (rows.start - f0.start) * f0.rate
    unit = ratio.denominator * offset.denominator
    step, first = ratio.numerator * offset.denominator, offset.numerator * ratio.denominator
    moments = torch.arange(-1, rows.num_rows + 1, dtype=torch.int64, device=f0.values.device) * step + first
    before = torch.div(moments[:-2], unit, rounding_mode="floor")
    after = -torch.div(-moments[2:], unit, rounding_mode="floor")
    width = -(-2 * step // unit) + 2
    found = torch.minimum(before[:, None] + torch.arange(width, device=before.device), after[:, None])
    values = f0.values.detach().abs()
    return values[:, found.clamp(0, f0.num_rows - 1)].amax(2)


def turns_to_phase(turns: Tensor) -> Tensor:
    """Turns, 1 for a whole period, as a phase: float (batch,) → int64, turns · 2^64 wrapped around."""
    exact_turns = wide(turns)
    return ((exact_turns - exact_turns.round()) * 2.0**64).long().to(turns.device)


def phase_to_turns(phase: Tensor) -> Tensor:
    """A phase in turns: int64 (batch,) → float64 in [-0.5, 0.5]."""
    return wide(phase) * 2.0**-64


class HarmonicBank(nn.Module):
    """Harmonics of a fundamental from a network's curves, at one sample rate; it has no weights."""

    def __init__(self, sample_rate: Fraction | float) -> None:
        super().__init__()
        self.sample_rate = exact_rate(sample_rate, "sample_rate")

    def forward(self, f0: Curve, amplitude: Curve, distribution: Curve, num_samples: int) -> Tensor:
        """Sound (batch, time) of f0 in Hz, amplitude (batch, row), and shares (batch, row, harmonic)."""
        amplitudes = harmonic_amplitudes(f0, amplitude, distribution, sample_rate=self.sample_rate)
        return harmonic_bank(f0, amplitudes, Block(num_samples, self.sample_rate))[0]
