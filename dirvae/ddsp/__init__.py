"""Differentiable sound: harmonics, filtered noise and reverb from curves of pitch and loudness, at any sample rate."""

from .curve import Curve

__all__ = ["Curve"]
