"""Units of sound: pitch as Hz and MIDI notes, level as amplitude and decibels, and the networks' positive outputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["amplitude_to_db", "db_to_amplitude", "exp_sigmoid", "hz_to_midi", "midi_to_hz"]

A4_HZ = 440.0
A4_MIDI = 69.0
LOWEST_DB = -120.0


def hz_to_midi(hz: Tensor) -> Tensor:
    """MIDI note numbers, 69 for 440 Hz and 12 per octave: same shape; -inf for 0 Hz."""
    return 12 * torch.log2(hz / A4_HZ) + A4_MIDI


def midi_to_hz(midi: Tensor) -> Tensor:
    """Hz of MIDI note numbers: same shape."""
    return A4_HZ * torch.exp2((midi - A4_MIDI) / 12)


def amplitude_to_db(amplitude: Tensor, *, lowest_db: float = LOWEST_DB) -> Tensor:
    """Decibels, 0 for an amplitude of 1: same shape, not below `lowest_db`, with no gradient there."""
    return 20 * torch.log10(amplitude.clamp(min=10 ** (lowest_db / 20)))


def db_to_amplitude(db: Tensor) -> Tensor:
    """Amplitude of decibels, 1 for 0 dB: same shape."""
    return torch.pow(10.0, db / 20)


def exp_sigmoid(x: Tensor) -> Tensor:
    """2 · σ(x)^ln 10 + 1e-7, from 1e-7 to 2: same shape (Engel et al. 2020, arXiv 2001.04643).

    It is smooth, positive and close to exponential below 0, as loudness is. Computed as exp(ln 10 · log σ(x)).
    """
    return 2 * torch.exp(math.log(10) * torch.nn.functional.logsigmoid(x)) + 1e-7
