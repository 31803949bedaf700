"""Differentiable sound: harmonics, filtered noise and reverb from curves of pitch and loudness, at any sample rate."""

from dirvae.ddsp.block import Block
from dirvae.ddsp.curve import Curve
from dirvae.ddsp.frames import Framing
from dirvae.ddsp.harmonics import HarmonicBank, harmonic_amplitudes, harmonic_bank
from dirvae.ddsp.loudness import loudness_curve
from dirvae.ddsp.noise import FilteredNoise, filtered_noise, uniform_noise
from dirvae.ddsp.pitch import Pitch, Tracker, track_f0
from dirvae.ddsp.reverb import DecayReverb, Reverb, add_reverb
from dirvae.ddsp.spectral_loss import MultiScaleSpectralLoss, SpectralSums
from dirvae.ddsp.streaming_reverb import StreamingReverb
from dirvae.ddsp.units import exp_sigmoid, hz_to_midi, midi_to_hz

__all__ = [
    "Block",
    "Curve",
    "DecayReverb",
    "FilteredNoise",
    "Framing",
    "HarmonicBank",
    "MultiScaleSpectralLoss",
    "Pitch",
    "Reverb",
    "SpectralSums",
    "StreamingReverb",
    "Tracker",
    "add_reverb",
    "exp_sigmoid",
    "filtered_noise",
    "harmonic_amplitudes",
    "harmonic_bank",
    "hz_to_midi",
    "loudness_curve",
    "midi_to_hz",
    "track_f0",
    "uniform_noise",
]
