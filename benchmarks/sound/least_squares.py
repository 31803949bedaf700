"""Harmonics and noise of a recording by least squares: row by row, with a known f0.

Around each row of the controls the sound is fitted by sines and cosines of its harmonics under a Hann window. What the
fitted harmonics, faded from row to row, do not explain is noise; its short-time spectrum gives the noise's magnitudes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dirvae.ddsp import Block, Curve, Framing, harmonic_amplitudes
from dirvae.ddsp.envelopes import hann_rise, upsample_linear
from dirvae.ddsp.frames import frame_signal, framed_fft, overlap_add
from dirvae.ddsp.harmonic_sum import accumulate_phase

__all__ = ["HarmonicFit", "fit_harmonics", "fit_noise", "heard_harmonics"]

CHUNK_VALUES = 1 << 24
"""Of the basis in memory at once."""
RIDGE = 1e-3
"""Added to the diagonal of the normal equations, as a share of what a harmonic has there."""
NOISE_POWER = 1 / 3
"""Of noise that is uniform in (-1, 1)."""


@dataclass(frozen=True)
class HarmonicFit:
    """What `fit_harmonics` finds.

    amplitudes  (batch, row, harmonic), linear
    residual    (batch, time): the sound less its harmonics, with the phases that fit best
    """

    amplitudes: Curve
    residual: Tensor


def fit_harmonics(samples: Tensor, f0: Curve, *, framing: Framing, num_harmonics: int) -> HarmonicFit:
    """Amplitudes of harmonics at the rows of `framing`: samples (batch, time), f0 (batch, row) in Hz.

    min Σ_n w(n)² (x(n) - Σ_j a_j sin(2π j φ(n)) + b_j cos(2π j φ(n)))² + a small ridge, amplitude √(a² + b²).
    φ is the phase of `harmonic_bank`. Harmonics that `harmonic_amplitudes` leaves out are 0.
    """
    num_rows = framing.num_frames(samples.shape[1])
    is_heard = heard_harmonics(f0, framing, num_rows, num_harmonics)
    found = [
        _fit_sound(*one, framing=framing)
        for one in zip(samples, _turns(f0, samples, framing), is_heard, strict=True)
    ]
    amplitudes, explained = (torch.stack(column) for column in zip(*found, strict=True))
    return HarmonicFit(Curve(amplitudes, framing.frame_rate, framing.start), samples - explained)


def heard_harmonics(f0: Curve, framing: Framing, num_rows: int, num_harmonics: int) -> Tensor:
    """(batch, row, harmonic) bool: which harmonics stay below half the sample rate, by the rule of the synthesiser."""
    ones = torch.ones(len(f0.values), num_rows, num_harmonics)
    level, shares = (Curve(values, framing.frame_rate, framing.start) for values in (ones[..., 0], ones))
    return harmonic_amplitudes(f0, level, shares, sample_rate=framing.sample_rate).values > 0


def fit_noise(residual: Tensor, bands: Tensor, framing: Framing) -> Curve:
    """Magnitudes (batch, row, band) of filtered noise as loud as `residual` (batch, time) in each band.

    `bands`: (band, bin) of `FilteredNoise`.
    """
    window = torch.hann_window(framing.frame_length)
    power = framed_fft(residual, framing, window=window).abs().square() / window.square().sum()
    weights = F.interpolate(bands[None].float(), power.shape[2], mode="linear", align_corners=True)[0]
    mean = power @ (weights / weights.sum(1, keepdim=True)).T
    return Curve((mean / NOISE_POWER).sqrt(), framing.frame_rate, framing.start)


def _turns(f0: Curve, samples: Tensor, framing: Framing) -> Tensor:
    """(batch, time) float64: the phase of the fundamental in turns, wrapped."""
    double = Curve(f0.values.double(), f0.rate, f0.start)
    cycles = upsample_linear(double, Block(samples.shape[1], framing.sample_rate)) / float(framing.sample_rate)
    return accumulate_phase(cycles, torch.zeros(len(samples), dtype=torch.int64))[0] * 2.0**-64


def _fit_sound(samples: Tensor, turns: Tensor, is_heard: Tensor, *, framing: Framing) -> tuple[Tensor, Tensor]:
    """Amplitudes (row, harmonic) of one sound, and what of it (time,) its harmonics explain."""
    num_rows, num_harmonics = is_heard.shape
    most = int(is_heard.any(0).sum())
    frames, phases = frame_signal(samples[None], framing)[0], frame_signal(turns[None], framing)[0]
    fades = _fades(framing, num_rows)
    amplitudes, pieces = [], []
    for rows in torch.arange(num_rows).split(max(CHUNK_VALUES // (2 * most * framing.frame_length), 1)):
        basis = _basis(phases[rows], is_heard[rows, :most])
        weights = _solve(basis, frames[rows])
        amplitudes.append(weights.unflatten(1, (2, most)).square().sum(1).sqrt())
        pieces.append(torch.einsum("rnk,rk->rn", basis, weights) * fades[rows])
    explained = overlap_add(torch.cat(pieces)[None], framing.starts(num_rows), len(samples))[0]
    return F.pad(torch.cat(amplitudes), (0, num_harmonics - most)), explained


def _basis(turns: Tensor, is_heard: Tensor) -> Tensor:
    """Sines, then cosines, of each harmonic that is heard: (row, sample), (row, harmonic) → (row, sample, column)."""
    numbers = torch.arange(1, is_heard.shape[1] + 1, dtype=torch.float64)
    angle = (turns[..., None] * numbers).remainder_(1).float().mul_(2 * torch.pi)
    return torch.cat((angle.sin(), angle.cos()), 2) * is_heard.repeat(1, 2)[:, None]


def _solve(basis: Tensor, frames: Tensor) -> Tensor:
    """The weights (row, column) of a basis (row, sample, column) that fit frames (row, sample) best."""
    window = torch.hann_window(frames.shape[1])
    weighted = basis * window[:, None]
    normal = weighted.mT @ weighted
    normal.diagonal(dim1=1, dim2=2).add_(RIDGE * window.square().sum() / 2)
    right = weighted.mT @ (frames * window)[..., None]
    return torch.cholesky_solve(right, torch.linalg.cholesky(normal))[..., 0]


def _fades(framing: Framing, num_rows: int) -> Tensor:
    """(row, sample): the windows of two hops by which the synthesiser fades from row to row. They add up to 1."""
    starts = framing.starts(num_rows).double()
    moments = torch.arange(num_rows) * float(framing.hop) + float(framing.start * framing.sample_rate)
    places = (starts - moments)[:, None] + torch.arange(framing.frame_length)
    return hann_rise((1 - places.abs() / float(framing.hop)).clamp(min=0)).float()
