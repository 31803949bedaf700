"""How much each frequency counts for loudness."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["a_weighting"]

POLES_HZ = (20.598997, 107.65265, 737.86223, 12194.217)
"""The four pole frequencies of A-weighting, the first and the last of them double. IEC 61672-1:2013, annex E."""

AT_1000_HZ = 10**-0.1
"""The gain on amplitude that the poles alone have at 1 kHz, −2.0 dB; dividing by it makes the weighting 1 there."""


def a_weighting(hz: Tensor) -> Tensor:
    """The gain of A-weighting on power, of the shape of `hz` (floating point, Hz): 1 at 1 kHz, 0 at 0 Hz.

    Source: IEC 61672-1:2013, annex E, equation E.6.
    """
    squared = hz.square()
    first, second, third, last = (pole**2 for pole in POLES_HZ)
    gain = last * squared.square() / ((squared + first) * (squared + last))
    gain = gain / torch.sqrt((squared + second) * (squared + third))
    return (gain / AT_1000_HZ).square()
