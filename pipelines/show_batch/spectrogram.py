"""A spectrogram by NumPy: decibels over time and a frequency axis that is linear below and logarithmic above."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["coloured", "frequency_ticks", "height_of", "spectrogram"]

RANGE_DB = 80.0
BEND_HZ = 700.0
WINDOW_SECONDS = 0.046
SILENCE = 1e-12
ANCHORS = np.array(
    [(18, 18, 38), (58, 30, 104), (138, 42, 112), (214, 76, 78), (248, 158, 72), (253, 244, 200)], np.float64
)
"""Colours from the quietest to the loudest, evenly spaced."""
TICKS_HZ = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)


def spectrogram(samples: NDArray[np.float32], sample_rate: float, size: tuple[int, int]) -> NDArray[np.float64]:
    """Decibels below the loudest, -80 to 0, of (time,) samples: (height, width) `size`, low frequencies at the bottom.

    Column i is a Hann window of about 46 ms in the middle of its share of the time, moved so that it is within the
    samples. Silence is -80 everywhere.
    """
    height, width = size
    num_fft = 1 << max(6, round(np.log2(WINDOW_SECONDS * sample_rate)))
    half = num_fft // 2
    padded = np.pad(np.asarray(samples, np.float64), half)
    centres = ((np.arange(width) + 0.5) * (len(samples) / width)).astype(np.int64)
    if len(samples) >= num_fft:
        centres = centres.clip(half, len(samples) - half)  # a sudden end would be a click in its columns
    window = np.hanning(num_fft + 1)[:-1]
    power = np.empty((width, half + 1))
    for column, centre in enumerate(centres.tolist()):  # one at a time: a batch of long windows stays small
        power[column] = np.abs(np.fft.rfft(padded[centre : centre + num_fft] * window)) ** 2
    decibels = 10 * np.log10(np.maximum(power, SILENCE))
    top = float(decibels.max())
    if top <= 10 * np.log10(SILENCE):
        return np.full(size, -RANGE_DB)
    shares = 1 - (np.arange(height) + 0.5) / height
    bins = _hz_of(shares, sample_rate / 2) * num_fft / sample_rate
    below = np.minimum(bins.astype(np.int64), num_fft // 2 - 1)
    part = bins - below
    rows = decibels[:, below] * (1 - part) + decibels[:, below + 1] * part
    shown: NDArray[np.float64] = np.clip(rows.T - top, -RANGE_DB, 0.0)
    return shown


def coloured(decibels: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Decibels from -80 to 0 as colours: (..., 3) uint8 sRGB."""
    place = (decibels / RANGE_DB + 1) * (len(ANCHORS) - 1)
    below = np.clip(place.astype(np.int64), 0, len(ANCHORS) - 2)
    part = (place - below)[..., None]
    return np.rint(ANCHORS[below] * (1 - part) + ANCHORS[below + 1] * part).astype(np.uint8)


def height_of(hz: float, highest_hz: float) -> float:
    """Where a frequency stands on the axis: 0 for 0 Hz, 1 for the highest."""
    return float(np.log1p(hz / BEND_HZ) / np.log1p(highest_hz / BEND_HZ))


def _hz_of(share: NDArray[np.float64], highest_hz: float) -> NDArray[np.float64]:
    hz: NDArray[np.float64] = BEND_HZ * np.expm1(share * np.log1p(highest_hz / BEND_HZ))
    return hz


def frequency_ticks(highest_hz: float, least_gap: float) -> list[tuple[float, str]]:
    """(share of the axis, label in kHz) of round frequencies that stand at least `least_gap` apart, from the top."""
    found: list[tuple[float, str]] = []
    for hz in reversed([tick for tick in TICKS_HZ if tick <= highest_hz * 0.98]):
        share = height_of(hz, highest_hz)
        if share > least_gap / 2 and (not found or found[-1][0] - share >= least_gap):
            found.append((share, f"{hz / 1000:g}"))
    return found
