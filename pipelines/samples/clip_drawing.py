"""Procedural clips: a few shapes that move before a calm background. Pure functions.

Shapes are drawn where their positions say, which are rounded to 1/100 of a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..order.randomness import derive_key, philox_words
from .drawing import SHAPES, between, mix, oklch, rounded, shape_distance, squared, to_bytes
from .motion import MOTIONS, Motion, motion_of

__all__ = ["FPS", "SKIES", "Clip", "MovingShape", "clip_of", "draw_frames"]

Floats = NDArray[np.float64]

FPS = 24
SKIES = {  # (lightness, chroma, hue in degrees) in OKLCH: at the top and at the bottom
    "morning": ((0.88, 0.05, 230.0), (0.96, 0.04, 80.0)),
    "mint": ((0.80, 0.05, 190.0), (0.93, 0.04, 150.0)),
    "rose": ((0.90, 0.03, 320.0), (0.82, 0.06, 20.0)),
    "evening": ((0.40, 0.08, 290.0), (0.62, 0.09, 30.0)),
    "night": ((0.22, 0.05, 270.0), (0.34, 0.06, 240.0)),
}
CLIP_STREAM = 0xC119
WORDS_PER_SHAPE = 13


@dataclass(frozen=True)
class MovingShape:
    """A shape and its way. `radius`, of the circle around it, is a fraction of the picture's side; `hue` and `turn`
    lie in [0, 1): once round the colour wheel, and once round the shape's centre.
    """

    shape: str
    hue: float
    radius: float
    turn: float
    turns_per_second: float
    motion: Motion

    @property
    def light_and_shade(self) -> tuple[Floats, Floats]:
        """Its colours towards the light and away from it, sRGB in [0, 1]: (3,) each. The centre has their mean."""
        return oklch(0.80, 0.14, self.hue * 360.0), oklch(0.58, 0.16, self.hue * 360.0)

    def positions(self, frames: int, size: int) -> Floats:
        """The centre in each frame, in pixels from the top left corner, rounded to 0.01: (frame, 2), x and y."""
        seconds = np.arange(frames) / FPS
        return np.round(self.motion.positions(seconds) * size, 2)


@dataclass(frozen=True)
class Clip:
    """The factors of a clip; later shapes are drawn over earlier ones. `sky` is the background."""

    frames: int
    sky: str
    shapes: tuple[MovingShape, ...]
    has_sound: bool

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.frames / FPS

    def describe(self, size: int) -> dict[str, Any]:
        """The factors as JSON, for pictures of `size` × `size` pixels; lengths in pixels."""
        return {
            "fps": FPS,
            "frames": self.frames,
            "width": size,
            "height": size,
            "sky": self.sky,
            "shapes": [
                {
                    "shape": one.shape,
                    "colour": to_bytes((one.light_and_shade[0] + one.light_and_shade[1]) / 2.0).tolist(),
                    "radius": round(one.radius * size, 2),
                    "turn": one.turn,
                    "turns_per_second": one.turns_per_second,
                    "motion": one.motion.kind,
                    "positions": one.positions(self.frames, size).tolist(),
                }
                for one in self.shapes
            ],
        }


def clip_of(seed: int, index: int) -> Clip:
    """The clip of a seed and a number: 2 to 4 seconds, one to three shapes, sound in every other clip."""
    words = philox_words(4 + 3 * WORDS_PER_SHAPE, derive_key(seed, CLIP_STREAM, index)).tolist()
    unit = [(word >> 44) / (1 << 20) for word in words]  # 20 bits: exact in a float and short in JSON
    num = 1 + int(unit[0] * 3)
    shapes = []
    for position in range(num):
        own = unit[4 + position * WORDS_PER_SHAPE :]
        radius = between(0.12, 0.20, own[1])
        is_turning = own[3] < 0.5
        shapes.append(
            MovingShape(
                shape=SHAPES[int(own[0] * len(SHAPES))],
                hue=rounded((unit[1] + (position + 0.3 * own[2]) / num) % 1.0),  # far from one another
                radius=radius,
                turn=own[4],
                turns_per_second=between(-0.4, 0.4, own[5]) if is_turning else 0.0,
                motion=motion_of(MOTIONS[int(own[6] * len(MOTIONS))], radius, own[7:13]),
            )
        )
    return Clip(
        frames=round(FPS * (2.0 + 2.0 * unit[2])),
        sky=tuple(SKIES)[int(unit[3] * len(SKIES))],
        shapes=tuple(shapes),
        has_sound=index % 2 == 0,
    )


def draw_frames(clip: Clip, size: int) -> Iterator[NDArray[np.uint8]]:
    """The frames, each (size, size, 3) uint8 sRGB. Edges are one pixel soft."""
    sky = _sky(clip.sky, size)
    positions = [one.positions(clip.frames, size).tolist() for one in clip.shapes]
    for frame in range(clip.frames):
        picture = sky.copy()
        for one, places in zip(clip.shapes, positions, strict=True):
            _draw(picture, one, places[frame], one.turn + one.turns_per_second * frame / FPS)
        yield to_bytes(picture)


def _sky(name: str, size: int) -> Floats:
    """The background: from the colour of the top to that of the bottom, a little darker in the corners."""
    top, bottom = (oklch(*colour) for colour in SKIES[name])
    axis: Floats = (np.arange(size) + 0.5) / size
    down, aside = axis[:, None, None], axis[None, :, None]
    picture: Floats = top + (bottom - top) * down
    return picture * (1.0 - 0.24 * squared(aside - 0.5, down - 0.5))


def _draw(picture: Floats, one: MovingShape, place: tuple[float, float], turn: float) -> None:
    """Put a shape with a soft shadow below it into a picture (size, size, 3)."""
    radius = one.radius * len(picture)
    x, y = place
    rows, columns = (slice(max(0, math.floor(at - 1.6 * radius)), math.ceil(at + 1.6 * radius)) for at in (y, x))
    part = picture[rows, columns]
    axis: Floats = np.arange(len(picture), dtype=np.float64) + 0.5
    u: Floats = ((axis[columns] - x) / radius)[None, :]
    v: Floats = ((axis[rows] - y) / radius)[:, None]
    cosine, sine = rounded(math.cos(math.tau * turn)), rounded(math.sin(math.tau * turn))

    def distance(u: Floats, v: Floats) -> Floats:
        return shape_distance(one.shape, cosine * u + sine * v, cosine * v - sine * u)

    shadow = np.clip(0.5 - distance(u - 0.12, v - 0.28) / 0.5, 0.0, 1.0)
    part[...] = mix(part, np.zeros(3), 0.22 * shadow * shadow)
    bright, dark = one.light_and_shade
    light = np.clip(0.5 - 0.36 * u - 0.48 * v, 0.0, 1.0)[..., None]
    part[...] = mix(part, dark + (bright - dark) * light, np.clip(0.5 - distance(u, v) * radius, 0.0, 1.0))
