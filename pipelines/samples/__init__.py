"""Procedural pictures, sounds and clips, to try everything out on."""

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

if TYPE_CHECKING:
    from .clips import make_sample_clips
    from .scenes import make_sample_data
    from .sounds import make_sample_sounds

__all__ = ["make_sample_clips", "make_sample_data", "make_sample_sounds"]

lazy_names(
    __name__,
    {"make_sample_clips": ".clips", "make_sample_data": ".scenes", "make_sample_sounds": ".sounds"},
)
