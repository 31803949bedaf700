"""The quiet sound of a clip: a tone that rises and falls with the first shape, and a blip for each bounce."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .clip_drawing import Clip

__all__ = ["CLIP_SAMPLE_HZ", "clip_samples", "describe_sound"]

Floats = NDArray[np.float64]

CLIP_SAMPLE_HZ = 16_000
LOWEST_HZ, HIGHEST_HZ, BLIP_HZ = 220.0, 880.0, 1760.0
TONE, BLIP = 0.08, 0.12  # amplitudes
FADE_SECONDS, DECAY_SECONDS, BLIP_SECONDS = 0.05, 0.03, 0.2


def clip_samples(clip: Clip) -> Floats:
    """As long as the clip: (time,) in [-1, 1], 16,000 per second."""
    time: Floats = np.arange(round(clip.seconds * CLIP_SAMPLE_HZ)) / CLIP_SAMPLE_HZ
    depth = clip.shapes[0].motion.y.at(time)
    pitch = HIGHEST_HZ * (LOWEST_HZ / HIGHEST_HZ) ** depth
    fade = np.clip(np.minimum(time, clip.seconds - time) / FADE_SECONDS, 0.0, 1.0)
    samples: Floats = TONE * fade * np.sin(math.tau * np.cumsum(pitch) / CLIP_SAMPLE_HZ)
    for bounce in _bounces(clip):
        begin = math.ceil(bounce * CLIP_SAMPLE_HZ)
        since = time[begin : begin + round(BLIP_SECONDS * CLIP_SAMPLE_HZ)] - bounce
        samples[begin : begin + len(since)] += (
            BLIP * np.exp(-since / DECAY_SECONDS) * np.sin(math.tau * BLIP_HZ * since)
        )
    return samples


def describe_sound(clip: Clip) -> dict[str, Any]:
    """What is heard, as JSON: the pitch at the bottom and the top edge (a shape between them is on the logarithmic
    scale between), and when shapes bounce.
    """
    return {
        "codec": "aac",
        "sample_rate": CLIP_SAMPLE_HZ,
        "channels": 1,
        "lowest_hz": LOWEST_HZ,
        "highest_hz": HIGHEST_HZ,
        "blip_hz": BLIP_HZ,
        "blips_seconds": [round(bounce, 4) for bounce in _bounces(clip)],
    }


def _bounces(clip: Clip) -> list[float]:
    return sorted(time for one in clip.shapes for time in one.motion.bounces(clip.seconds))
