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


def count_rows(
    num_samples: int, *, sample_rate: Fraction | float, rate: Fraction | float, start: Fraction | int = 0
) -> int:
    """How many rows stand before the end of `num_samples`, row 0 at `start` seconds. Rates in Hz."""
    rows = (num_samples - start * exact(sample_rate)) * exact(rate) / exact(sample_rate)
    return max(-(-rows.numerator // rows.denominator), 0)


def row_samples(
    rows: range, *, sample_rate: Fraction | float, rate: Fraction | float, start: Fraction | int = 0
) -> Tensor:
    """(row,) int64: the sample nearest to start + k / rate seconds for each k of `rows`; halves are rounded up."""
    hop, first = exact(sample_rate) / exact(rate), start * exact(sample_rate) + Fraction(1, 2)
    step, offset = hop.numerator * first.denominator, first.numerator * hop.denominator
    unit = hop.denominator * first.denominator
    if max(rows.stop, 1) * step + abs(offset) < LARGEST:
        return (torch.arange(rows.start, rows.stop) * step + offset).div(unit, rounding_mode="floor")
    return torch.tensor([(k * step + offset) // unit for k in rows], dtype=torch.int64)
