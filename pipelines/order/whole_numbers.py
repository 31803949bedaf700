"""Settings that are whole numbers, checked where they are given."""

from __future__ import annotations

import operator
from typing import SupportsIndex

__all__ = ["whole_number"]


def whole_number(name: str, value: object, *, least: int | None = 1) -> int:
    """The value of a setting as an `int`: any integer type, NumPy's too, but no float and no bool.

    Raises `TypeError` for what is not a whole number and `ValueError` for one below `least`, naming the setting.
    """
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} is {value!r}; it must be a whole number.")
    try:
        number = operator.index(value)
    except TypeError:  # arrays have the method, and refuse
        raise TypeError(f"{name} is {value!r}; it must be a whole number.") from None
    if least is not None and number < least:
        raise ValueError(f"{name} is {number}; it must be at least {least}.")
    return number
