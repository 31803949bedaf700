"""Pitch and loudness as packing wants them: NumPy in, NumPy out, the same bytes for the same samples everywhere."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dirvae.choices import CONTROL_RATE
from dirvae.ddsp.loudness import loudness_curve
from dirvae.ddsp.pitch.tracking import highest_pitch, track_f0

__all__ = ["f0", "loudness"]

Samples = NDArray[np.float32]


def f0(samples: Samples, sample_rate: Fraction | float) -> tuple[dict[str, Samples], int]:
    """The pitch of (channel, time) float32 samples, their mean being heard: fields by name, and their rows per second.

    "f0" is in Hz, above 0 in every row, and "f0_confidence" in [0, 1]; both (row,) float32, a row for each 1/250 s
    begun. `dirvae.ddsp.pitch.track_f0` says what is found. Raises `ValueError` for samples that are not finite.
    """
    sound = _sound(samples)
    if not sound.shape[1]:
        return {"f0": np.empty(0, np.float32), "f0_confidence": np.empty(0, np.float32)}, CONTROL_RATE
    found = track_f0(sound, sample_rate, rate=CONTROL_RATE, highest=highest_pitch(sample_rate))
    return {"f0": found.f0.values[0].numpy(), "f0_confidence": found.confidence.values[0].numpy()}, CONTROL_RATE


def loudness(samples: Samples, sample_rate: Fraction | float) -> tuple[Samples, int]:
    """The loudness of (channel, time) float32 samples in dB, their mean being heard, and its rows per second.

    (row,) float32, A-weighted, at least -80, a row for each 1/250 s begun: `dirvae.ddsp.loudness`. Raises
    `ValueError` for samples that are not finite.
    """
    sound = _sound(samples)
    if not sound.shape[1]:
        return np.empty(0, np.float32), CONTROL_RATE
    with torch.no_grad():
        levels: Samples = loudness_curve(sound, sample_rate, rate=CONTROL_RATE).values[0].numpy()
    return levels, CONTROL_RATE


def _sound(samples: Samples) -> Tensor:
    """(1, time): the mean of the channels."""
    if samples.ndim != 2 or not len(samples):
        raise ValueError(f"samples has shape {samples.shape}; it must be (channel, time), with a channel at least.")
    if not np.isfinite(samples).all():
        raise ValueError("samples holds values that are not finite. Replace or leave out what is damaged.")
    mean = samples[0] if len(samples) == 1 else samples.mean(axis=0, dtype=np.float32)
    return torch.from_numpy(np.array(mean, np.float32)[None])
