"""Clips of videos: some frames at a steady rate, or every n-th frame as it is stored.

every=3, clip_frames=4       frames 0 3 6 9 │ hop=1: 1 4 7 10 │ 2 5 8 11 │ …        hop counts frames of the video
fps=10, clip_frames=4        times 0.0 0.1 0.2 0.3 s │ hop=1: 0.1 … 0.4 s │ …       hop counts frames at 10 per second
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checked_numbers import whole_number
from .clip_arithmetic import ClipSpec, HasLength, Short

__all__ = ["VideoClipSpec", "video_clip_spec"]

MOST_CLIP_FRAMES = 1 << 20
MOST_EVERY = 1 << 20
MOST_DENOMINATOR = 1 << 16


@dataclass(frozen=True, slots=True)
class VideoClipSpec(ClipSpec):
    """A `ClipSpec` whose output frames are those of the video, or those at `sample_rate` frames per second.

    `clip_frames` frames are delivered of a window, every `every`-th.
    """

    clip_frames: int = 1
    every: int = 1

    @property
    def fps(self) -> Fraction | None:
        """Frames per second that are delivered; None if frames are taken as they are stored."""
        return None if self.sample_rate is None else Fraction(self.sample_rate)

    def output_frames(self, records: NDArray[np.void]) -> NDArray[np.int64]:
        """As `ClipSpec` has it, but of a video with a frame one at least, which is shown at time 0."""
        found = ClipSpec.output_frames(self, records)
        return np.where(records["frames"] > 0, np.maximum(found, 1), found)

    def output_length(self, record: HasLength) -> int:
        """The same for one video."""
        return max(ClipSpec.output_length(self, record), min(1, max(0, record.frames)))

    def steps(self, length: int) -> int:
        """How many frames are delivered of a window of which `length` frames are real."""
        return -(-length // self.every)

    @property
    def overlaps(self) -> bool:
        """Whether clips that follow one another share frames."""
        return self.hop < self.window or self.random_offset

    @property
    def length_setting(self) -> tuple[str, str, int]:
        """What a clip is called, the iterator's setting that says how long it is, and its value."""
        return "clip", "clip_frames", self.clip_frames

    def describe(self) -> dict[str, Any]:
        """As JSON: it is part of a state."""
        return {
            "kind": "video",
            "clip_frames": self.clip_frames,
            "every": self.every,
            "hop": self.hop,
            "fps": None if self.sample_rate is None else str(self.sample_rate),
            "short": self.short,
            "random_offset": self.random_offset,
        }


def video_clip_spec(
    clip_frames: int,
    *,
    fps: float | Fraction | None = None,
    every: int = 1,
    hop: int | None = None,
    short: Short = "pad",
    random_offset: bool = False,
) -> VideoClipSpec:
    """The clips that these settings of a `VideoIterator` ask for. Raises `ValueError` or `TypeError` for nonsense."""
    clip_frames = whole_number("clip_frames", clip_frames, most=MOST_CLIP_FRAMES)
    every = whole_number("every", every, most=MOST_EVERY)
    rate = None if fps is None else _rate(fps)
    if rate is not None and every != 1:
        raise ValueError(f"fps is {fps} and every is {every}: give one of them. fps picks frames by their time.")
    window = (clip_frames - 1) * every + 1
    usual_hop = clip_frames * every
    spec_hop = usual_hop if hop is None else hop
    return VideoClipSpec(window, spec_hop, rate, short, random_offset, clip_frames=clip_frames, every=every)


def _rate(fps: object) -> Fraction:
    """Frames per second as a fraction: 29.97 is 2997/100, and 30000 / 1001 what it says."""
    rate = None
    if isinstance(fps, float | np.floating) and 0 < float(fps) < 1e9:
        rate = Fraction(str(fps))
        near = rate.limit_denominator(MOST_DENOMINATOR)
        rate = near if float(near) == float(rate) else rate
    elif isinstance(fps, int | np.integer | Fraction) and not isinstance(fps, bool):
        rate = Fraction(fps) if isinstance(fps, Fraction) else Fraction(int(fps))
    if rate is None or rate <= 0:
        raise ValueError(f"fps is {fps!r}; it must be a number of frames per second above 0, such as 12 or 29.97.")
    if max(rate.numerator, rate.denominator) >= 1 << 31:
        raise ValueError(f"fps is {fps!r}; as a fraction its terms must be below {1 << 31:,}. Round it.")
    return rate
