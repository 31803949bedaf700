"""Procedural scenes: a shape of some colour, size and turn before a background of some mood. Pure functions.

A scene is the same on every machine, as `drawing` is.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..order.randomness import derive_key, philox_words
from .drawing import SHAPES, between, mix, oklch, rounded, shape_distance, squared, to_bytes

__all__ = ["BACKGROUNDS", "SHAPES", "Scene", "draw_scene", "scene_of", "shape_coverage"]

Floats = NDArray[np.float64]

BACKGROUNDS = ("dawn", "day", "dusk", "night")
SKIES = {  # (lightness, chroma, hue in degrees) in OKLCH: at the top, at the horizon, of the ground
    "dawn": ((0.80, 0.07, 230.0), (0.93, 0.08, 60.0), (0.62, 0.07, 145.0)),
    "day": ((0.70, 0.12, 245.0), (0.95, 0.03, 220.0), (0.72, 0.12, 130.0)),
    "dusk": ((0.42, 0.12, 300.0), (0.80, 0.13, 45.0), (0.36, 0.06, 280.0)),
    "night": ((0.18, 0.05, 270.0), (0.38, 0.08, 255.0), (0.20, 0.04, 220.0)),
}
SCENE_STREAM = 0x5CE7E


@dataclass(frozen=True)
class Scene:
    """The factors of a scene. Lengths are fractions of the picture's side, x runs right and y down.

    `hue` and `turn` lie in [0, 1): once round the colour wheel, and once round the shape's centre. `size` is the
    radius of the circle around the shape, `horizon` the height of the horizon below the top edge.
    """

    shape: str
    hue: float
    x: float
    y: float
    size: float
    turn: float
    background: str
    horizon: float

    def describe(self) -> dict[str, Any]:
        """The factors as JSON."""
        return asdict(self)


def scene_of(seed: int, index: int) -> Scene:
    """The scene of a seed and a number: factors uniform and independent."""
    words = philox_words(8, derive_key(seed, SCENE_STREAM, index)).tolist()
    unit = [(word >> 44) / (1 << 20) for word in words]  # 20 bits: exact in a float and short in JSON
    return Scene(
        shape=SHAPES[int(unit[0] * len(SHAPES))],
        hue=unit[1],
        x=between(0.28, 0.72, unit[2]),
        y=between(0.30, 0.70, unit[3]),
        size=between(0.14, 0.26, unit[4]),
        turn=unit[5],
        background=BACKGROUNDS[int(unit[6] * len(BACKGROUNDS))],
        horizon=between(0.55, 0.80, unit[7]),
    )


def draw_scene(scene: Scene, size: int) -> NDArray[np.uint8]:
    """The picture: (size, size, 3) uint8 sRGB. Edges are one pixel soft."""
    axis = (np.arange(size) + 0.5) / size
    x, y = np.broadcast_arrays(axis[None, :], axis[:, None])
    picture = _landscape(scene, x, y, 1.0 / size)
    shadow = squared((x - scene.x) / (scene.size * 1.1), (y - scene.y - scene.size * 1.05) / (scene.size * 0.22))
    picture = mix(picture, np.zeros(3), 0.30 * np.clip(1.0 - shadow, 0.0, 1.0))
    u, v = (x - scene.x) / scene.size, (y - scene.y) / scene.size
    bright, dark = oklch(0.84, 0.13, scene.hue * 360.0), oklch(0.56, 0.15, scene.hue * 360.0)
    light = np.clip(0.5 - 0.38 * u - 0.5 * v, 0.0, 1.0)[..., None]
    picture = mix(picture, dark + (bright - dark) * light, shape_coverage(scene, size))
    return to_bytes(picture)


def shape_coverage(scene: Scene, size: int) -> Floats:
    """How much of each pixel the shape covers, about: (size, size), 0 to 1."""
    axis = (np.arange(size) + 0.5) / size
    x, y = np.broadcast_arrays(axis[None, :], axis[:, None])
    cosine, sine = rounded(math.cos(math.tau * scene.turn)), rounded(math.sin(math.tau * scene.turn))
    u, v = (x - scene.x) / scene.size, (y - scene.y) / scene.size
    distance = shape_distance(scene.shape, cosine * u + sine * v, cosine * v - sine * u)
    return np.clip(0.5 - distance * scene.size * size, 0.0, 1.0)


def _landscape(scene: Scene, x: Floats, y: Floats, pixel: float) -> Floats:
    """Sky down to the horizon with a sun or moon opposite the shape, then ground."""
    top, low, ground = (oklch(*colour) for colour in SKIES[scene.background])
    height = np.clip(y / scene.horizon, 0.0, 1.0)[..., None]
    picture: Floats = top + (low - top) * height * height
    sun_x, sun_y, radius = (0.2 if scene.x > 0.5 else 0.8), 0.2, 0.07
    distance = np.sqrt(squared(x - sun_x, y - sun_y))
    halo = np.clip(1.0 - distance / 0.35, 0.0, 1.0)
    picture = mix(picture, low, 0.6 * halo * halo)
    picture = mix(picture, oklch(0.97, 0.04, 95.0), np.clip(0.5 - (distance - radius) / pixel, 0.0, 1.0))
    hill = scene.horizon + 0.06 * (x - 0.5) * (x - 0.5) * (1.0 if scene.x > 0.5 else -1.0)
    near = np.clip((y - hill) / (1.0 - scene.horizon), 0.0, 1.0)[..., None]
    return mix(picture, ground * (1.0 - 0.35 * near), np.clip(0.5 + (y - hill) / pixel, 0.0, 1.0))
