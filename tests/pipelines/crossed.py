"""Settings of a test in all their combinations, of which the quick tests take some."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest

__all__ = ["crossed"]


def crossed(first: Iterable[Any], second: Iterable[Any]) -> list[Any]:
    """Parameters (a, b): each of both occurs in a quick test at least once, and the other combinations are heavy."""
    firsts, seconds = list(first), list(second)
    parameters = []
    for row, column in itertools.product(range(len(firsts)), range(len(seconds))):
        is_quick = row % len(seconds) == column if len(firsts) >= len(seconds) else column % len(firsts) == row
        marks = () if is_quick else (pytest.mark.heavy,)
        parameters.append(pytest.param(firsts[row], seconds[column], marks=marks))
    return parameters
