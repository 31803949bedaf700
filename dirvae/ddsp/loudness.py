"""How loud a sound is from moment to moment, to an ear rather than to a meter; differentiable.

    row k      |----Hann, 32 ms----|      centred at k / rate seconds, to the nearest sample
    row k + 1         |-------------------|

The same numbers as the function of this name in `pipelines.decode.audio.loudness`, which needs NumPy alone.
"""

from __future__ import annotations

from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from dirvae.ddsp.curve import Curve, at_least_single, exact
from dirvae.ddsp.rows import count_rows, row_samples
from dirvae.ddsp.sounds import check_rates, check_samples
from dirvae.ddsp.weighting import a_weighting
from dirvae.float64 import narrow, wide, wide_device

__all__ = ["levels_at", "loudness_curve", "window_samples"]

WINDOW_SECONDS = Fraction(32, 1000)
FLOOR_DB = -80.0
LEAST_POWER = 1e-20
ROWS_AT_ONCE = 4096
"""Rows whose windows are in memory at a time, over all sounds of a batch."""


def loudness_curve(
    samples: Tensor, sample_rate: Fraction | float, *, rate: Fraction | float = 250, floor_db: float = FLOOR_DB
) -> Curve:
    """The A-weighted level of (batch, time) samples in dB: a curve (batch, row) of `rate` rows per second.

    Row k is the level of a Hann window of 32 ms around k / rate seconds (to the nearest sample), with zeros outside
    the sound; there is a row for each control period begun. A sine of full scale at 1 kHz is 0 dB; nothing is below
    `floor_db`. Values have the dtype (float32 for half precision) and device of the samples, and a gradient above the
    floor. Rows around samples that are NaN or infinite are NaN: they are not looked for, which would wait for a GPU.

    Low tones are louder than exact A-weighting makes them, because the spectrum of so short a window reaches higher
    bins: -27.85 instead of -30.27 dB at 50 Hz, -18.77 instead of -19.14 dB at 100 Hz.

    Raises `ValueError` for samples of another shape, none at all, and for rates that make no sense: sample rates from
    1 to 768,000 Hz are taken, and a row per sample at most.
    """
    check_samples(samples)
    check_rates(sample_rate, rate)
    exact(floor_db, "floor_db")
    samples = at_least_single(samples)
    rows = range(count_rows(samples.shape[1], sample_rate=sample_rate, rate=rate))
    centres = row_samples(rows, sample_rate=sample_rate, rate=rate)
    levels = levels_at(samples, centres, window=window_samples(sample_rate), sample_rate=float(sample_rate))
    return Curve(levels.clamp(min=floor_db), exact(rate))


def window_samples(sample_rate: Fraction | float) -> int:
    """How many samples 32 ms are."""
    return max(2, round(WINDOW_SECONDS * exact(sample_rate)))


def levels_at(samples: Tensor, centres: Tensor, *, window: int, sample_rate: float) -> Tensor:
    """The A-weighted level in dB of windows around samples `centres` (row,): (batch, row), -200 at least.

    What `loudness_curve` gives above its floor, by tensors and plain numbers alone, so that it can be compiled.
    """
    padded = F.pad(samples, (window // 2, window))
    at_once = max(1, ROWS_AT_ONCE // len(samples))
    parts = torch.split(centres.to(samples.device), at_once)
    return torch.cat([_levels(padded, starts, window, sample_rate) for starts in parts], 1)


def _levels(padded: Tensor, starts: Tensor, window: int, sample_rate: float) -> Tensor:
    """dB of the windows that begin at `starts` (row,) of (batch, time) samples: (batch, row)."""
    hann = torch.hann_window(window, dtype=padded.dtype, device=padded.device)
    hz = torch.arange(window // 2 + 1, dtype=torch.float64, device=wide_device(padded.device)) * (
        sample_rate / window
    )
    weights = a_weighting(hz) / (window * wide(hann).square().sum() / 4)  # a sine of amplitude 1 is 1
    spectrum = torch.fft.rfft(padded.unfold(1, window, 1)[:, starts] * hann)
    power = (spectrum.real.square() + spectrum.imag.square()) * narrow(weights, padded)
    total = wide(power.sum(-1)).clamp(min=LEAST_POWER)  # log10 in double: alike however rows are batched
    level: Tensor = narrow(10 * total.log10(), padded)
    return level
