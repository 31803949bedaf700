"""How loud a sound is from moment to moment, to an ear rather than to a meter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["a_weighting", "loudness_curve"]

Floats = NDArray[np.float64]

WINDOW = 512
FLOOR_DB = -80.0


def loudness_curve(samples: Floats, sample_rate: int, control_rate: int) -> Floats:
    """The A-weighted level of (time,) samples in dB, (row,), row k around k / control_rate seconds; at least -80.

    Hann windows of 512 samples; a sine of full scale at 1 kHz is 0 dB. One row for each whole control period begun.
    """
    hop = sample_rate // control_rate
    padded = np.pad(samples, (WINDOW // 2, WINDOW))
    starts = np.arange(0, len(samples), hop)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[starts]
    hz = np.arange(WINDOW // 2 + 1, dtype=np.float64) * (sample_rate / WINDOW)
    power = np.abs(np.fft.rfft(windows * hann)) ** 2 * a_weighting(hz)
    total = power.sum(axis=1) / (WINDOW * np.sum(hann**2) / 4)  # a sine of amplitude 1 is 1, wherever it lies
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
