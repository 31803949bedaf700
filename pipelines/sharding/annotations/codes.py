"""Ids of any type as whole numbers of 64 bits, to compare many at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_ID", "UNUSABLE", "Codes"]

LARGEST = 1 << 61
NO_ID = -(1 << 62)
"""The code of a missing id, or of a value that cannot be one."""
UNUSABLE = NO_ID + 1
"""The code of a value that cannot be an id, where it is told from a missing one; no id has it."""


class Codes:
    """Equal ids have equal codes: numbers by value, texts by characters. A small whole number is its own code."""

    def __init__(self) -> None:
        self._others: dict[int | float | str, int] = {}

    def of(self, value: Any) -> int:
        """The code of one value."""
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return NO_ID
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and -LARGEST < value < LARGEST:
            return value
        return self._others.setdefault(value, LARGEST + len(self._others))

    def of_each(self, values: Sequence[Any]) -> NDArray[np.int64]:
        """The codes of many values."""
        if set(map(type, values)) == {int}:
            with contextlib.suppress(OverflowError):
                found = np.array(values, np.int64)
                if found.min() > -LARGEST and found.max() < LARGEST:
                    return found
        return np.fromiter(map(self.of, values), np.int64, len(values))
