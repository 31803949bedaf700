"""What is expected of sounds and rates that are analysed, said in one sentence where it is not met."""

from __future__ import annotations

from fractions import Fraction

from torch import Tensor

from dirvae.choices import HIGHEST_RATE
from dirvae.ddsp.curve import check_tensor, exact_rate

__all__ = ["check_rates", "check_samples"]


def check_samples(samples: Tensor) -> None:
    """Raise `ValueError` unless these are (batch, time) samples, one at least; `TypeError` unless they are floats."""
    check_tensor(samples, "samples")
    if samples.ndim != 2 or not samples.shape[1] or not samples.shape[0]:
        raise ValueError(
            f"samples has shape {tuple(samples.shape)}; it must be (batch, time) with at least one sample. Give each "
            "channel of a recording as a sound of its own."
        )
    if not samples.is_floating_point():
        raise TypeError(f"samples is {samples.dtype}; it must be floating point in [-1, 1]. Convert it first.")


def check_rates(sample_rate: Fraction | float, rate: Fraction | float) -> None:
    """Raise `ValueError` unless these are 1 to 768,000 samples per second, and at most as many rows, above 0."""
    samples_per_second, rows_per_second = exact_rate(sample_rate, "sample_rate"), exact_rate(rate, "rate")
    if not 1 <= samples_per_second <= HIGHEST_RATE:
        raise ValueError(f"sample_rate is {sample_rate}; it must be 1 to {HIGHEST_RATE:,} samples per second.")
    if rows_per_second > samples_per_second:
        raise ValueError(
            f"rate is {rate}; at {sample_rate} samples per second it must be as many rows per second or fewer."
        )
