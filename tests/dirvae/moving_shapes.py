"""Clips of one shape each that moves over a ground: what tests of video train on."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_clips", "draw_video", "write_videos"]


def draw_video(seed: int, *, frames: int, size: int, coloured: bool = True) -> NDArray[np.uint8]:
    """A disc or a square that moves on a straight line and bounces: (frames, size, size, 3) uint8."""
    rng = np.random.default_rng(seed)
    ground, colour = rng.uniform(0, 1, (2, 3)) if coloured else np.repeat([[0.1], [0.9]], 3, 1)
    place, radius, is_disc = rng.uniform(0.25, 0.75, 2), rng.uniform(0.12, 0.25), rng.integers(2)
    speed = rng.uniform(0.02, 0.06, 2) * rng.choice((-1, 1), 2)
    ramp = (np.arange(size) + 0.5) / size
    out = np.empty((frames, size, size, 3), np.uint8)
    for frame in out:
        far = np.abs(np.array(np.meshgrid(ramp - place[0], ramp - place[1], indexing="ij")))
        distance = np.hypot(*far) if is_disc else far.max(0)
        inside = np.clip((radius - distance) * size + 0.5, 0, 1)[..., None]
        frame[:] = np.round(255 * (colour * inside + ground * (1 - inside)))
        speed = np.where((place + speed < 0.2) | (place + speed > 0.8), -speed, speed)
        place = place + speed
    return out


def draw_clips(num: int, *, frames: int, size: int, seed: int = 0, coloured: bool = True) -> NDArray[np.uint8]:
    """The videos of `num` seeds as a batch: (num, 3, frames, size, size) uint8, channels last in memory."""
    seeds = range(seed * 10_000, seed * 10_000 + num)
    videos = [draw_video(one, frames=frames, size=size, coloured=coloured) for one in seeds]
    return np.stack(videos).transpose(0, 4, 1, 2, 3)


def write_videos(folder: Path, num: int, *, frames: int, size: int, seed: int = 0, **drawing: Any) -> Path:
    """Videos of moving shapes as `NNN.mp4`, ten frames per second; returns the folder."""
    import av

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num):
        with av.open(str(folder / f"{number:03d}.mp4"), "w") as file:
            stream = file.add_stream("libx264", Fraction(10), options={"crf": "12", "g": "12", "threads": "1"})
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
            for picture in draw_video(seed * 10_000 + number, frames=frames, size=size, **drawing):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            file.mux(stream.encode())
    return folder
