"""Rows per second of the curves beside recordings, exactly, and as they stand in files.

A field has one rate in an ordinary set, and several where what computed it depends on the recording.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from numbers import Rational, Real

__all__ = ["CurveRates", "exact_rate", "joined_rates", "rates_from_json", "rates_to_json"]

CurveRates = Mapping[str, tuple[Fraction, ...]]
"""Field → its different rates in rows per second, the lowest first."""

MOST_DENOMINATOR, MOST_RATE = 10**6, 10**9
_RATE = re.compile(r"([0-9]{1,18})(?:/([0-9]{1,18}))?")


def exact_rate(rate: object) -> Fraction:
    """A rate as a fraction: one with a small denominator that a float stands for, such as 176.4 or 16000 / 3.

    Raises `ValueError` for what is not a number above 0, or beyond a billion.
    """
    exact = None
    if isinstance(rate, bool):
        pass
    elif isinstance(rate, Rational):
        exact = Fraction(int(rate.numerator), int(rate.denominator))
    elif isinstance(rate, Real) and math.isfinite(rate):
        exact = Fraction(float(rate))
    near = None if exact is None else exact.limit_denominator(MOST_DENOMINATOR)
    if near is not None and 0 < near <= MOST_RATE:
        return near
    raise ValueError(f"{rate!r} is not a number of rows per second, above 0")


def joined_rates(rates: Iterable[CurveRates]) -> dict[str, tuple[Fraction, ...]]:
    """Every rate that a field has in one of them."""
    found: dict[str, set[Fraction]] = {}
    for one in rates:
        for name, values in one.items():
            found.setdefault(name, set()).update(values)
    return {name: tuple(sorted(values)) for name, values in sorted(found.items())}


def rates_to_json(rates: CurveRates) -> dict[str, list[str]]:
    """As JSON: {"f0.npy": ["250"], "onset.npy": ["882/5"]}."""
    return {name: [str(rate) for rate in values] for name, values in rates.items()}


def rates_from_json(content: object) -> dict[str, tuple[Fraction, ...]]:
    """What `rates_to_json` wrote. Raises `ValueError` for anything else."""
    if not isinstance(content, dict):
        raise ValueError("its curve_rates are not rates by name")
    return joined_rates([{name: _parsed_rates(name, texts)} for name, texts in content.items()])


def _parsed_rates(name: object, texts: object) -> tuple[Fraction, ...]:
    if not isinstance(name, str) or not isinstance(texts, list):
        raise ValueError("its curve_rates are not rates by name")
    found = [_RATE.fullmatch(text) if isinstance(text, str) else None for text in texts]
    numbers = [(int(one[1]), int(one[2] or 1)) for one in found if one is not None]
    if len(numbers) < len(texts) or not all(part for number in numbers for part in number):
        raise ValueError(f"a rate of {name!r} in its curve_rates is not a number above 0")
    return tuple(Fraction(*number) for number in numbers)
