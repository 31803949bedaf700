"""How loud a sound is from moment to moment, to an ear rather than to a meter. NumPy alone, at any sample rate.

row k      |----Hann, 32 ms----|      centred at k / control_rate seconds, to the nearest sample
row k + 1         |-------------------|
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

__all__ = ["a_weighting", "loudness_curve"]

Floats = NDArray[np.float64]

WINDOW_SECONDS = Fraction(32, 1000)
FLOOR_DB = -80.0
ROWS_AT_ONCE = 4096


def loudness_curve(samples: Floats, sample_rate: Fraction | float, control_rate: Fraction | float) -> Floats:
    """The A-weighted level of (time,) samples in dB, (row,), row k around k / control_rate seconds; at least -80.

    Hann windows of 32 ms, 512 samples at 16 kHz; a sine of full scale at 1 kHz is 0 dB. One row for each whole
    control period begun: the hop need not be a whole number of samples, and no row is further than half a sample from
    its time. Rates are in samples and rows per second.

    Raises `ValueError` for samples of another shape and for rates that are not above 0.
    """
    if samples.ndim != 1:
        raise ValueError(f"samples has shape {samples.shape}; one channel is wanted, (time,).")
    rate, rows_rate = _rate("sample_rate", sample_rate), _rate("control_rate", control_rate)
    window = max(2, round(WINDOW_SECONDS * rate))
    starts = _row_samples(len(samples), rate / rows_rate)
    padded = np.pad(samples, (window // 2, window))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    weights = a_weighting(np.arange(window // 2 + 1, dtype=np.float64) * (float(rate) / window))
    views = np.lib.stride_tricks.sliding_window_view(padded, window)
    total = np.empty(len(starts))
    for first in range(0, len(starts), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        power = np.abs(np.fft.rfft(views[starts[rows]] * hann)) ** 2 * weights
        total[rows] = power.sum(axis=1) / (window * np.sum(hann**2) / 4)  # a sine of amplitude 1 is 1
    level: Floats = np.maximum(10 * np.log10(np.maximum(total, 1e-20)), FLOOR_DB)
    return level


def a_weighting(hz: Floats) -> Floats:
    """The gain of A-weighting on power, 1 at 1 kHz. Source: IEC 61672-1:2013, annex E."""
    squared = hz**2
    gain = 12194.217**2 * squared**2
    gain = gain / ((squared + 20.598997**2) * (squared + 12194.217**2))
    gain = gain / np.sqrt((squared + 107.65265**2) * (squared + 737.86223**2))
    power: Floats = (gain * 10**0.1) ** 2
    return power


def _rate(name: str, rate: Fraction | float) -> Fraction:
    """A rate as a fraction, a float as it is written: 176.4 is 882/5."""
    if not 0 < rate < float("inf"):
        raise ValueError(f"{name} is {rate}; it must be a number per second, above 0.")
    return Fraction(str(rate)) if isinstance(rate, float) else Fraction(rate)


def _row_samples(num_samples: int, step: Fraction) -> NDArray[np.int64]:
    """The sample nearest to each row, halves rounded up, for the rows that begin before the end."""
    num = -int(-num_samples // step)
    if 2 * num * step.numerator + step.denominator < 2**63:
        numbers = np.arange(num, dtype=np.int64)
        return (2 * numbers * step.numerator + step.denominator) // (2 * step.denominator)
    return np.array([(2 * k * step.numerator + step.denominator) // (2 * step.denominator) for k in range(num)])
