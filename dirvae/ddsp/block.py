"""Stretches of samples, and where each sample stands between the rows of a curve: in whole numbers, never rounded.

Sample n stands at row (n / sample_rate - start) · rate of a curve. As a fraction of whole numbers this is exact after
minutes of sound, at any two rates, and the same in a block that begins anywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from dirvae.ddsp.curve import Curve, exact_rate

__all__ = ["Block", "RowPositions"]

LARGEST = 2**62


@dataclass(frozen=True)
class Block:
    """Samples `first_sample` to `first_sample + num_samples`, the last one left out, of a sound.

    num_samples   above 0
    sample_rate   samples per second; an exact fraction, an int, or a float that is taken as it is written
    first_sample  counted from the first sample of the sound; below 0 before it

    Raises `ValueError` for a number of samples or a rate that is not above 0, `TypeError` for samples that are not
    whole numbers.
    """

    num_samples: int
    sample_rate: Fraction
    first_sample: int = 0

    def __post_init__(self) -> None:
        for name in ("num_samples", "first_sample"):
            object.__setattr__(self, name, _whole(getattr(self, name), name))
        rate = exact_rate(self.sample_rate, "sample_rate", wanted="it is in samples per second, above 0")
        object.__setattr__(self, "sample_rate", rate)
        if self.num_samples <= 0:
            raise ValueError(f"num_samples is {self.num_samples}; a block has 1 sample or more.")

    def rows_of(self, curve: Curve) -> RowPositions:
        """Where its samples stand between the rows of `curve`.

        Raises `ValueError` for a rate or start whose exact fraction does not fit in 62 bits.
        """
        step = curve.rate / self.sample_rate
        first = self.first_sample * step - curve.start * curve.rate
        first_row = first.numerator // first.denominator
        rest = first - first_row
        unit = step.denominator * rest.denominator
        up, remainder = step.numerator * rest.denominator, rest.numerator * step.denominator
        if unit + up * self.num_samples >= LARGEST:
            raise ValueError(
                f"rate {curve.rate} and start {curve.start} at {self.sample_rate} samples per second do not fit in "
                "62 bits. Give them as exact fractions, such as Fraction(1000, 7), not as rounded numbers."
            )
        return RowPositions(self.num_samples, first_row, remainder, up, unit)


def _whole(number: object, name: str) -> int:
    if isinstance(number, np.integer):
        return int(number)
    if not isinstance(number, int):
        raise TypeError(f"{name} is {number!r}; it must be a whole number of samples.")
    return number


@dataclass(frozen=True)
class RowPositions:
    """Sample i of a block stands at row `first_row + (remainder + i · step) / unit`; all are whole numbers.

    A segment is the samples from one row, itself included, to the next. Rows may lie before the first row of the
    curve or behind its last one.
    """

    num_samples: int
    first_row: int
    remainder: int
    step: int
    unit: int

    @property
    def num_segments(self) -> int:
        """How many segments the block touches."""
        return (self.remainder + self.step * (self.num_samples - 1)) // self.unit + 1

    @property
    def longest(self) -> int:
        """Samples of the longest segment."""
        return -(-self.unit // self.step)

    @property
    def period(self) -> tuple[int, int]:
        """After so many samples, which are so many rows, samples stand between rows as before."""
        common = math.gcd(self.unit, self.step)
        return self.unit // common, self.step // common

    def segments(self, device: torch.device | None = None) -> Tensor:
        """(time,) int64: the segment of each sample, the block's first one is 0."""
        first = torch.div(self._places(device), self.unit, rounding_mode="floor")
        periods = torch.arange(self._num_periods, dtype=torch.int64, device=device)[:, None]
        return (first + periods * self.period[1]).flatten()[: self.num_samples]

    def fractions(self, device: torch.device | None = None) -> Tensor:
        """(time,) float64 in [0, 1): how far each sample is from its row to the next one."""
        return self.repeated(self.fractions_of_period(device))

    def fractions_of_period(self, device: torch.device | None = None) -> Tensor:
        """The first `fractions`, those of one period or of all samples, whichever are fewer."""
        return torch.remainder(self._places(device), self.unit).double() / self.unit

    def repeated(self, of_period: Tensor) -> Tensor:
        """What was made of `fractions_of_period`, (sample,), for all samples: (time,)."""
        return of_period.repeat(self._num_periods)[: self.num_samples]

    def segment_starts(self, device: torch.device | None = None) -> Tensor:
        """(segment + 1,) int64: the first sample of each segment and of the one behind the last.

        It counts from the block's first sample: not above 0 for the first segment.
        """
        rows = torch.arange(self.num_segments + 1, dtype=torch.int64, device=device)
        return -torch.div(self.remainder - rows * self.unit, self.step, rounding_mode="floor")

    @property
    def _num_periods(self) -> int:
        return -(-self.num_samples // self.period[0])

    def _places(self, device: torch.device | None) -> Tensor:
        """Of one period, or of all samples if these are fewer."""
        num = min(self.num_samples, self.period[0])
        return torch.arange(num, dtype=torch.int64, device=device) * self.step + self.remainder
