"""Samples made ready to be tracked: fewer per second where there are many, and nothing slower than any pitch.

Both filters have no phase, and what they give at a sample does not depend on where a sound is cut into blocks.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from dirvae.ddsp.curve import exact

__all__ = ["DECIMATION_REACH", "decimate", "decimation", "without_rumble"]

KEPT_HZ = 22_050
"""Sample rates from one and a half times this on are divided, to come near to it."""

DECIMATION_REACH = 8
"""How far the decimation filter reaches on each side, in samples of the lower rate."""

FIXED_POINT = 2.0**24
"""Sums are of samples in units of 2⁻²⁴: exact for floats up to 16 bits above full scale, and fine enough for a mean."""


def decimation(sample_rate: Fraction | float) -> int:
    """Every how many samples one is kept: 1 up to 33 kHz, 2 for 44.1 and 48 kHz, 4 for 96 kHz."""
    return max(1, math.floor(exact(sample_rate) / KEPT_HZ + Fraction(1, 2)))


def decimate(samples: Tensor, step: int) -> Tensor:
    """Every `step`-th of (batch, time) samples, the first included, without what would alias: (batch, ⌈time / step⌉).

    A sinc of 90 % of the new bandwidth within a Kaiser window. Its taps are added one after another, so that a sum
    does not depend on how the work is shared out.
    """
    if step == 1:
        return samples
    half = DECIMATION_REACH * step
    num = -(-samples.shape[1] // step)
    padded = F.pad(samples, (half, half + step))
    taps = torch.arange(-half, half + 1, dtype=torch.float64) / step
    response = torch.sinc(0.9 * taps) * torch.kaiser_window(
        len(taps), periodic=False, beta=8.0, dtype=torch.float64
    )
    response /= response.sum()
    out = torch.zeros_like(samples[:, :num])
    for offset, weight in enumerate(response.tolist()):
        out += padded[:, offset : offset + num * step : step] * weight
    return out


def without_rumble(samples: Tensor, width: int) -> Tensor:
    """(batch, time) samples minus their mean over a triangle that reaches `width` samples to each side.

    Constants go, and what is slower than `width`: of a tone with a period of `width` samples all is left, of one of
    four times that a fifth. At the ends the mean is over what is there. Sums are of whole numbers, so they are exact.
    """
    half = width // 2
    fixed = (samples.double() * FIXED_POINT).round().long()
    weights = _sum_around(_sum_around(torch.ones_like(fixed[:1]), half), half)
    mean = _sum_around(_sum_around(fixed, half), half).double() / (weights * FIXED_POINT)
    return samples - mean.to(samples.dtype)


def _sum_around(numbers: Tensor, half: int) -> Tensor:
    """The sum over `half` numbers on each side and the number itself; whole numbers may overflow on the way."""
    num = numbers.shape[1]
    sums = F.pad(numbers.cumsum(1), (half + 1, 0))
    last = sums[:, -1:].expand(-1, half)
    return torch.cat([sums, last], 1)[:, 2 * half + 1 :][:, :num] - sums[:, :num]


def softened(samples: Tensor) -> Tensor:
    """(batch, time) samples, the highest frequencies attenuated: half at a quarter of the sample rate, 0 at its half.

    Peaks of the correlation are rounder so, and their heights between two steps of the lag are better known.
    """
    padded = F.pad(samples, (1, 1))
    return 0.5 * samples + 0.25 * (padded[:, :-2] + padded[:, 2:])
