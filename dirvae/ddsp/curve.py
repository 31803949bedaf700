"""A curve over time, with the moments of its rows as exact fractions.

Rates do not have to be whole numbers or multiples of each other: at 44,100 Hz, a curve of 250 rows per second has one
row every 176.4 samples. With a rounded hop two curves would drift apart, so each row is placed by its exact time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

__all__ = ["Curve"]


@dataclass(frozen=True)
class Curve:
    """Rows of values: row k stands `start + k / rate` seconds after the first sample of the sound.

    values  (batch, row) or (batch, row, channel), floating point
    rate    rows per second; an exact fraction, an int, or a float that is taken as it is written
    start   seconds, of row 0; an exact fraction, below 0 where the first row stands before the sound

    Raises `ValueError` for values of another shape and rates that are not above 0, `TypeError` for integer values and
    for values that are not a tensor.
    """

    values: Tensor
    rate: Fraction
    start: Fraction = 0  # type: ignore[assignment] # torch.compile traces no default that is a Fraction

    def __post_init__(self) -> None:
        check_tensor(self.values, "values")
        if self.values.ndim not in (2, 3) or not self.values.shape[1]:
            raise ValueError(f"values has shape {tuple(self.values.shape)}; a curve is (batch, row[, channel]).")
        if not self.values.is_floating_point():
            raise TypeError(f"values is {self.values.dtype}; a curve has floating-point values.")
        object.__setattr__(
            self, "rate", exact_rate(self.rate, "rate", wanted="a curve has rows per second, above 0")
        )
        object.__setattr__(self, "start", exact(self.start, "start"))

    @property
    def num_rows(self) -> int:
        """How many rows it has."""
        return self.values.shape[1]

    def seconds(self) -> Tensor:
        """(row,) float64: when each row stands."""
        rows = torch.arange(self.num_rows, dtype=torch.float64, device=self.values.device)
        return rows * (self.rate.denominator / self.rate.numerator) + float(self.start)


def exact(number: object, name: str = "a number") -> Fraction:
    """A rate or a time as a fraction: 0.1 and 176.4 are what is written, not the nearest binary number.

    Numbers of NumPy are taken like those of Python. Raises `ValueError`, with its `name`, for one that is not finite,
    `TypeError` for anything else.
    """
    if isinstance(number, (float, np.floating)):
        if not math.isfinite(number):
            raise ValueError(f"{name} is {number}; it must be a finite number.")
        return Fraction(str(number))
    if isinstance(number, (int, Fraction)):
        return Fraction(number)
    if isinstance(number, np.integer):
        return Fraction(int(number))
    raise TypeError(f"{name} is {number!r}; it must be a number: an int, a float or a Fraction.")


def exact_rate(number: object, name: str, *, wanted: str = "it must be a number per second, above 0") -> Fraction:
    """A number per second as `exact` has it. Raises `ValueError`, saying what is `wanted`, unless it is above 0."""
    found = exact(number, name)
    if found <= 0:
        raise ValueError(f"{name} is {number}; {wanted}.")
    return found


def check_tensor(value: object, name: str) -> None:
    """Raise `TypeError` unless it is a tensor."""
    if isinstance(value, np.ndarray):
        raise TypeError(f"{name} is a numpy array; give a tensor: torch.from_numpy({name}).")
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}; give a tensor.")


def at_least_single(values: Tensor) -> Tensor:
    """float64 as it is, anything else as float32: Fourier transforms and logarithms need as much."""
    return values if values.dtype == torch.float64 else values.float()
