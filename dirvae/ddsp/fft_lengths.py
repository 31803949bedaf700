"""Lengths for which Fourier transforms are fast: those whose prime factors are small."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["fast_length", "has_small_factors"]


def fast_length(least: int) -> int:
    """The smallest even length of `least` or more whose prime factors are 2, 3 and 5."""
    length = max(least + least % 2, 2)
    while not has_small_factors(length):
        length += 2
    return length


def has_small_factors(length: int, primes: Sequence[int] = (2, 3, 5)) -> bool:
    """Whether a length, above 0, is a product of these primes."""
    for prime in primes:
        while length % prime == 0:
            length //= prime
    return length == 1
