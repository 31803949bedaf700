"""Procedural pictures and sounds, to try everything out on."""

from .scenes import make_sample_data
from .sounds import make_sample_sounds

__all__ = ["make_sample_data", "make_sample_sounds"]
