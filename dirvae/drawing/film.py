"""Clips as pictures: film strips of a few frames side by side, and small animations."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dirvae.drawing.pictures import data_uri, to_pixels

__all__ = [
    "animation_uri",
    "clip_pixels",
    "film_strip",
    "frame_milliseconds",
    "shown_frames",
    "strip_ratio",
    "strip_uri",
]

MOST_SHOWN = 8
"""Frames of a strip, at most."""
GAP_SHARE = 1 / 16
"""The width of the transparent gap between frames, as a share of a frame's width."""
LARGEST = 128
"""Pixels of a frame's side; larger frames are reduced."""
PAUSE_MILLISECONDS = 500
"""How much longer an animation shows its last frame, so that its end can be seen."""


def shown_frames(num_frames: int) -> list[int]:
    """Up to eight evenly spaced frames of a clip, from the first to the last."""
    return [round(place) for place in np.linspace(0, num_frames - 1, min(num_frames, MOST_SHOWN)).tolist()]


def clip_pixels(clips: Tensor) -> NDArray[np.uint8]:
    """Float clips in [0, 1] (num, channel, time, height, width) → uint8 (num, time, height, width, 3)."""
    num, channels, frames, height, width = clips.shape
    pixels = to_pixels(clips.transpose(1, 2).reshape(num * frames, channels, height, width))
    return pixels.reshape(num, frames, height, width, 3)


def film_strip(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The shown frames of a clip (time, height, width, 3) side by side: (height, all widths and gaps, 4)."""
    return _joined(list(clip[shown_frames(len(clip))]), axis=1)


def strip_ratio(clip: NDArray[np.uint8]) -> float:
    """The width of the film strip of a clip (time, height, width, 3), divided by the width of a frame."""
    return int(film_strip(clip).shape[1]) / int(clip.shape[2])


def strip_uri(clip: NDArray[np.uint8]) -> str:
    """The film strip of a clip (time, height, width, 3) as a PNG data URI."""
    strip = film_strip(clip)
    return data_uri(strip, largest=_reduced(max(strip.shape[:2]), clip.shape[1:3]))


def animation_uri(clips: Sequence[NDArray[np.uint8]], *, milliseconds: int) -> str:
    """Clips of equal shape (time, height, width, 3), one below the other, moving in step: a WebP data URI.

    Each frame is shown for `milliseconds`, the last one for half a second more; it plays again and again.
    """
    frames = [Image.fromarray(_joined(list(parts), axis=0)) for parts in zip(*clips, strict=True)]
    for frame in frames:
        largest = _reduced(max(frame.size), clips[0].shape[1:3])
        frame.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    durations = [milliseconds] * (len(frames) - 1) + [milliseconds + PAUSE_MILLISECONDS]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=durations, loop=0, quality=90)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def frame_milliseconds(seconds: Sequence[float]) -> int:
    """How long a frame of a clip is shown, from the times of its frames: 20 to 500 ms, 100 for a single frame."""
    if len(seconds) < 2:
        return 100
    return int(np.clip(np.median(np.diff(seconds)) * 1000, 20, 500))


def _joined(parts: list[NDArray[np.uint8]], *, axis: int) -> NDArray[np.uint8]:
    """Pictures (height, width, 3) with transparent gaps between them, along an axis: (height, width, 4)."""
    opaque = [np.concatenate([part, np.full_like(part[..., :1], 255)], axis=-1) for part in parts]
    height, width = parts[0].shape[:2]
    size = max(1, round(GAP_SHARE * width))
    gap = np.zeros((size, width, 4) if axis == 0 else (height, size, 4), np.uint8)
    return np.concatenate([part for one in opaque for part in (one, gap)][:-1], axis=axis)


def _reduced(size: int, frame: tuple[int, ...]) -> int:
    """A size in pixels after frames (height, width) are reduced to `LARGEST` pixels per side."""
    return max(1, round(size * min(1, LARGEST / max(frame))))
