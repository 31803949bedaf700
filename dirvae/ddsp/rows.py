"""Where the rows of a curve stand among the samples of a sound, in whole numbers: no hop is ever rounded.

sample  0    1    2    3    4    5    6    7    8          5 samples in 3 rows, rate / sample_rate = 3 / 5
row     0       1       2       3       4                 row k stands at k · 5/3 samples
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from dirvae.ddsp.curve import exact

__all__ = ["count_rows", "row_samples"]

LARGEST = 2**62


def count_rows(num_samples: int, *, sample_rate: Fraction | float, rate: Fraction | float) -> int:
    """How many rows begin before the end of `num_samples`: one for each control period begun. Rates in Hz."""
    return -int(-num_samples * exact(rate) // exact(sample_rate))


def row_samples(rows: range, *, sample_rate: Fraction | float, rate: Fraction | float) -> Tensor:
    """(row,) int64: the sample nearest to k / rate seconds for each k of `rows`; halves are rounded up."""
    step = exact(sample_rate) / exact(rate)
    above, below = 2 * step.numerator, 2 * step.denominator
    if max(rows.stop, 1) * above < LARGEST:
        numbers = torch.arange(rows.start, rows.stop)
        return (numbers * above + step.denominator).div(below, rounding_mode="floor")
    return torch.tensor([(k * above + step.denominator) // below for k in rows], dtype=torch.int64)
