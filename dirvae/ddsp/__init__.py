"""Differentiable sound: harmonics, filtered noise and reverb from curves of pitch and loudness, at any sample rate."""

from dirvae.ddsp.curve import Curve
from dirvae.ddsp.loudness import loudness_curve
from dirvae.ddsp.pitch import Pitch, Tracker, track_f0

__all__ = ["Curve", "Pitch", "Tracker", "loudness_curve", "track_f0"]
