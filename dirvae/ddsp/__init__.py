"""Differentiable sound: harmonics, filtered noise and reverb from curves of pitch and loudness, at any sample rate."""

from .block import Block
from .curve import Curve
from .harmonics import HarmonicBank, harmonic_amplitudes, harmonic_bank

__all__ = ["Block", "Curve", "HarmonicBank", "harmonic_amplitudes", "harmonic_bank"]
