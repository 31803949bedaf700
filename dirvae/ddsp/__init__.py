"""Differentiable sound: harmonics, filtered noise and reverb from curves of pitch and loudness, at any sample rate."""

from .block import Block
from .curve import Curve
from .frames import Framing
from .harmonics import HarmonicBank, harmonic_amplitudes, harmonic_bank
from .noise import FilteredNoise, filtered_noise, uniform_noise
from .reverb import DecayReverb, Reverb, add_reverb
from .spectral_loss import MultiScaleSpectralLoss, SpectralSums
from .units import exp_sigmoid, hz_to_midi, midi_to_hz

__all__ = [
    "Block",
    "Curve",
    "DecayReverb",
    "FilteredNoise",
    "Framing",
    "HarmonicBank",
    "MultiScaleSpectralLoss",
    "Reverb",
    "SpectralSums",
    "add_reverb",
    "exp_sigmoid",
    "filtered_noise",
    "harmonic_amplitudes",
    "harmonic_bank",
    "hz_to_midi",
    "midi_to_hz",
    "uniform_noise",
]
