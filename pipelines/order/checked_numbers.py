"""Settings that are numbers, or yes or no, checked where they are given."""

from __future__ import annotations

import operator
from numbers import Real
from typing import SupportsIndex

import numpy as np

__all__ = ["flag", "real_number", "whole_number"]


def whole_number(name: str, value: object, *, least: int | None = 1, most: int | None = None) -> int:
    """The value of a setting as an `int`: any integer type, NumPy's too, but no float and no bool.

    Raises `TypeError` for what is not a whole number and `ValueError` for one below `least` or above `most`, naming
    the setting.
    """
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} is {value!r}; it must be a whole number.")
    try:
        number = operator.index(value)
    except TypeError:  # arrays have the method, and refuse
        raise TypeError(f"{name} is {value!r}; it must be a whole number.") from None
    if least is not None and number < least:
        raise ValueError(f"{name} is {number}; it must be at least {least}.")
    if most is not None and number > most:
        raise ValueError(f"{name} is {number}; it must be at most {most:,}.")
    return number


def real_number(name: str, value: object) -> float:
    """The value of a setting as a `float`: any real number, NumPy's too, but no bool.

    Raises `TypeError` for anything else, naming the setting.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {value!r}; it must be a number.")
    return float(value)


def flag(name: str, value: object) -> bool:
    """The value of a setting that is on or off as a `bool`, NumPy's too; "no" and 0 are not off.

    Raises `TypeError` for anything else, naming the setting.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}; it must be True or False.")
    return bool(value)
