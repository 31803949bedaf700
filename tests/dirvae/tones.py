"""Sounds whose pitch is known exactly at every moment, for the tests of pitch and loudness."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["SPECTRA", "as_sound", "cents", "glide", "tone"]

Floats = NDArray[np.float64]

SPECTRA: dict[str, Callable[[int], float]] = {
    "sine": lambda harmonic: float(harmonic == 1),
    "sawtooth": lambda harmonic: 1 / harmonic,
    "odd harmonics": lambda harmonic: harmonic % 2 / harmonic,
    "no fundamental": lambda harmonic: (harmonic > 1) / harmonic,
    "few high harmonics": lambda harmonic: {1: 0.1, 3: 1.0, 4: 1.0, 5: 1.0}.get(harmonic, 0.0),
}


def tone(f0_hz: Floats | float, phase: Floats, sample_rate: int, spectrum: str, seed: int = 0) -> Floats:
    """Harmonics below 45 % of the sample rate, each from a phase of its own; `phase` is the fundamental's, in turns."""
    starts = np.random.default_rng(seed).uniform(size=200)
    samples = np.zeros(len(phase))
    for harmonic in range(1, 200):
        audible = np.where(harmonic * np.asarray(f0_hz) < 0.45 * sample_rate, SPECTRA[spectrum](harmonic), 0.0)
        if np.any(audible):
            samples += audible * np.sin(2 * np.pi * (harmonic * phase + starts[harmonic]))
    return 0.5 * samples / np.abs(samples).max()


def glide(start_hz: float, seconds: float, sample_rate: int, spectrum: str = "sawtooth") -> Floats:
    """A tone that rises by an octave per second: at t seconds it has start_hz · 2^t Hz."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return tone(start_hz * 2**time, start_hz * (2**time - 1) / np.log(2), sample_rate, spectrum)


def as_sound(*samples: Floats) -> Tensor:
    """(batch, time) float32."""
    return torch.tensor(np.stack(samples), dtype=torch.float32)


def cents(found: Tensor, truth: Tensor | Floats | float) -> Tensor:
    """How far above the truth each frequency is, in hundredths of a semitone."""
    return 1200 * torch.log2(found.double() / torch.as_tensor(truth, dtype=torch.float64))
