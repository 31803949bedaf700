"""What scenes and clips are drawn with: shapes as signed distances, colours, and mixing. Pure functions.

Only additions, multiplications, divisions and square roots reach the pixels, which IEEE 754 rounds alike
everywhere; sines, cosines and powers are rounded before they are used. So a picture is the same on every machine.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["SHAPES", "between", "mix", "oklch", "rounded", "shape_distance", "squared", "to_bytes"]

Floats = NDArray[np.float64]

SHAPES = ("circle", "ring", "square", "triangle", "star", "heart")
HEART_SCALE = 0.68


def shape_distance(shape: str, x: Floats, y: Floats) -> Floats:
    """Signed distance (roughly, off the edge) to a shape within the unit circle; negative inside."""
    radius = np.sqrt(squared(x, y))
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
    lobe = np.sqrt(squared(x - 0.25, y - 0.75)) - 0.353553
    edge = np.minimum(squared(x, y - 1.0), squared(x - (s := 0.5 * np.maximum(x + y, 0.0)), y - s))
    distance: Floats = np.where(x + y > 1.0, lobe, np.sqrt(edge) * np.sign(x - y)) / HEART_SCALE
    return distance


def _regular(x: Floats, y: Floats, sides: int) -> Floats:
    """The largest of the distances to the sides' normals: a regular polygon, one corner up."""
    angles = [math.tau * (k + 0.5) / sides - math.tau / 4 for k in range(sides)]
    normals = [(rounded(math.cos(angle)), rounded(math.sin(angle))) for angle in angles]
    farthest: Floats = np.maximum.reduce([cosine * x + sine * y for cosine, sine in normals])
    return farthest


def _star(x: Floats, y: Floats) -> Floats:
    """Five points: inside where at most one of the five lines of a pentagram is crossed."""
    angles = [math.tau * k / 5 + math.tau / 4 for k in range(5)]
    sides = [rounded(math.cos(angle)) * x + rounded(math.sin(angle)) * y for angle in angles]
    second: Floats = np.sort(np.stack(sides), axis=0)[-2]
    return second - 0.32


def mix(below: Floats, above: Floats, share: Floats) -> Floats:
    """One colour or picture over another, (..., 3) each: `share` of the upper one, (...) in [0, 1]."""
    mixed: Floats = below + (above - below) * share[..., None]
    return mixed


def squared(x: Floats, y: Floats) -> Floats:
    """The square of the distance from the origin."""
    result: Floats = x * x + y * y
    return result


def rounded(value: float) -> float:
    """The value with six decimals: alike on machines whose sines and powers differ in the last bit."""
    return round(value, 6)


def between(low: float, high: float, unit: float) -> float:
    """The value that lies `unit` of the way from low to high, rounded."""
    return rounded(low + (high - low) * unit)


def to_bytes(picture: Floats) -> NDArray[np.uint8]:
    """sRGB in [0, 1] to the nearest uint8, of any shape."""
    return np.floor(picture * 255.0 + 0.5).astype(np.uint8)


def oklch(lightness: float, chroma: float, hue_degrees: float) -> Floats:
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
    return np.array([rounded(_gamma(min(1.0, max(0.0, value)))) for value in linear])


def _gamma(linear: float) -> float:
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
