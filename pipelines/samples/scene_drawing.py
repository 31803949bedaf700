"""Procedural scenes: a shape of some colour, size and turn before a background of some mood. Pure functions.

Only additions, multiplications, divisions and square roots reach the pixels, which IEEE 754 rounds alike
everywhere; sines, cosines and powers are rounded before they are used. So a scene is the same on every machine.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..order.randomness import derive_key, philox_words

__all__ = ["BACKGROUNDS", "SHAPES", "Scene", "draw_scene", "scene_of"]

Floats = NDArray[np.float64]

SHAPES = ("circle", "ring", "square", "triangle", "star", "heart")
BACKGROUNDS = ("dawn", "day", "dusk", "night")
SKIES = {  # (lightness, chroma, hue in degrees) in OKLCH: at the top, at the horizon, of the ground
    "dawn": ((0.80, 0.07, 230.0), (0.93, 0.08, 60.0), (0.62, 0.07, 145.0)),
    "day": ((0.70, 0.12, 245.0), (0.95, 0.03, 220.0), (0.72, 0.12, 130.0)),
    "dusk": ((0.42, 0.12, 300.0), (0.80, 0.13, 45.0), (0.36, 0.06, 280.0)),
    "night": ((0.18, 0.05, 270.0), (0.38, 0.08, 255.0), (0.20, 0.04, 220.0)),
}
HEART_SCALE = 0.68
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
        x=_between(0.28, 0.72, unit[2]),
        y=_between(0.30, 0.70, unit[3]),
        size=_between(0.14, 0.26, unit[4]),
        turn=unit[5],
        background=BACKGROUNDS[int(unit[6] * len(BACKGROUNDS))],
        horizon=_between(0.55, 0.80, unit[7]),
    )


def draw_scene(scene: Scene, size: int) -> NDArray[np.uint8]:
    """The picture: (size, size, 3) uint8 sRGB. Edges are one pixel soft."""
    axis = (np.arange(size) + 0.5) / size
    x, y = np.broadcast_arrays(axis[None, :], axis[:, None])
    picture = _landscape(scene, x, y, 1.0 / size)
    shadow = _squared((x - scene.x) / (scene.size * 1.1), (y - scene.y - scene.size * 1.05) / (scene.size * 0.22))
    picture = _mix(picture, np.zeros(3), 0.30 * np.clip(1.0 - shadow, 0.0, 1.0))
    cosine, sine = _rounded(math.cos(math.tau * scene.turn)), _rounded(math.sin(math.tau * scene.turn))
    u, v = (x - scene.x) / scene.size, (y - scene.y) / scene.size
    distance = _distance(scene.shape, cosine * u + sine * v, cosine * v - sine * u)
    bright, dark = _oklch(0.84, 0.13, scene.hue * 360.0), _oklch(0.56, 0.15, scene.hue * 360.0)
    light = np.clip(0.5 - 0.38 * u - 0.5 * v, 0.0, 1.0)[..., None]
    coverage = np.clip(0.5 - distance * scene.size * size, 0.0, 1.0)
    picture = _mix(picture, dark + (bright - dark) * light, coverage)
    return np.floor(picture * 255.0 + 0.5).astype(np.uint8)


def _landscape(scene: Scene, x: Floats, y: Floats, pixel: float) -> Floats:
    """Sky down to the horizon with a sun or moon opposite the shape, then ground."""
    top, low, ground = (_oklch(*colour) for colour in SKIES[scene.background])
    height = np.clip(y / scene.horizon, 0.0, 1.0)[..., None]
    picture: Floats = top + (low - top) * height * height
    sun_x, sun_y, radius = (0.2 if scene.x > 0.5 else 0.8), 0.2, 0.07
    distance = np.sqrt(_squared(x - sun_x, y - sun_y))
    halo = np.clip(1.0 - distance / 0.35, 0.0, 1.0)
    picture = _mix(picture, low, 0.6 * halo * halo)
    picture = _mix(picture, _oklch(0.97, 0.04, 95.0), np.clip(0.5 - (distance - radius) / pixel, 0.0, 1.0))
    hill = scene.horizon + 0.06 * (x - 0.5) * (x - 0.5) * (1.0 if scene.x > 0.5 else -1.0)
    near = np.clip((y - hill) / (1.0 - scene.horizon), 0.0, 1.0)[..., None]
    return _mix(picture, ground * (1.0 - 0.35 * near), np.clip(0.5 + (y - hill) / pixel, 0.0, 1.0))


def _distance(shape: str, x: Floats, y: Floats) -> Floats:
    """Signed distance (roughly, off the edge) to a shape within the unit circle; negative inside."""
    radius = np.sqrt(_squared(x, y))
    if shape == "circle":
        return radius - 0.9
    if shape == "ring":
        return np.abs(radius - 0.68) - 0.24
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - 0.72
    if shape == "triangle":
        return _regular(x, y, 3) - 0.5
    if shape == "star":
        return _star(x, y)
    x, y = np.abs(x) * HEART_SCALE, 0.55 - y * HEART_SCALE  # a heart: Inigo Quilez, "2D distance functions"
    lobe = np.sqrt(_squared(x - 0.25, y - 0.75)) - 0.353553
    edge = np.minimum(_squared(x, y - 1.0), _squared(x - (s := 0.5 * np.maximum(x + y, 0.0)), y - s))
    distance: Floats = np.where(x + y > 1.0, lobe, np.sqrt(edge) * np.sign(x - y)) / HEART_SCALE
    return distance


def _regular(x: Floats, y: Floats, sides: int) -> Floats:
    """The largest of the distances to the sides' normals: a regular polygon, one corner up."""
    angles = [math.tau * (k + 0.5) / sides - math.tau / 4 for k in range(sides)]
    normals = [(_rounded(math.cos(angle)), _rounded(math.sin(angle))) for angle in angles]
    farthest: Floats = np.maximum.reduce([cosine * x + sine * y for cosine, sine in normals])
    return farthest


def _star(x: Floats, y: Floats) -> Floats:
    """Five points: inside where at most one of the five lines of a pentagram is crossed."""
    angles = [math.tau * k / 5 + math.tau / 4 for k in range(5)]
    sides = [_rounded(math.cos(angle)) * x + _rounded(math.sin(angle)) * y for angle in angles]
    second: Floats = np.sort(np.stack(sides), axis=0)[-2]
    return second - 0.32


def _mix(below: Floats, above: Floats, share: Floats) -> Floats:
    mixed: Floats = below + (above - below) * share[..., None]
    return mixed


def _squared(x: Floats, y: Floats) -> Floats:
    result: Floats = x * x + y * y
    return result


def _between(low: float, high: float, unit: float) -> float:
    return _rounded(low + (high - low) * unit)


def _rounded(value: float) -> float:
    return round(value, 6)


def _oklch(lightness: float, chroma: float, hue_degrees: float) -> Floats:
    """OKLCH to sRGB in [0, 1], (3,): colours of one lightness look equally light (Björn Ottosson, 2020)."""
    a = chroma * math.cos(math.radians(hue_degrees))
    b = chroma * math.sin(math.radians(hue_degrees))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    return np.array([_rounded(_gamma(min(1.0, max(0.0, value)))) for value in linear])


def _gamma(linear: float) -> float:
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
