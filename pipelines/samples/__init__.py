"""Procedural pictures, sounds and clips, to try everything out on."""

from .clips import make_sample_clips
from .scenes import make_sample_data
from .sounds import make_sample_sounds

__all__ = ["make_sample_clips", "make_sample_data", "make_sample_sounds"]
