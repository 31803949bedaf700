"""What is expected of sounds and rates that are analysed, said in one sentence where it is not met."""

from __future__ import annotations

import math
from fractions import Fraction

from torch import Tensor

__all__ = ["check_rates", "check_samples"]


def check_samples(samples: Tensor) -> None:
    """Raise `ValueError` unless these are (batch, time) samples, one at least; `TypeError` unless they are floats."""
    if samples.ndim != 2 or not samples.shape[1] or not samples.shape[0]:
        raise ValueError(
            f"samples has shape {tuple(samples.shape)}; it must be (batch, time) with at least one sample. Give each "
            "channel of a recording as a sound of its own."
        )
    if not samples.is_floating_point():
        raise TypeError(f"samples is {samples.dtype}; it must be floating point in [-1, 1]. Convert it first.")


def check_rates(sample_rate: Fraction | float, rate: Fraction | float) -> None:
    """Raise `ValueError` unless both rates, samples and rows per second, are finite and above 0."""
    for name, value in (("sample_rate", sample_rate), ("rate", rate)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; it must be a number per second, above 0.")
