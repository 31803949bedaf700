"""Motions that are known exactly: a wave across and a wave down. Pure functions.

bounce  straight, off the walls
circle  round and round
swing   to and fro on a line, slower towards its ends
hop     across between the walls, and up and down like a ball on the floor
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .drawing import between, rounded

__all__ = ["MOTIONS", "Motion", "Wave", "motion_of"]

Floats = NDArray[np.float64]

MOTIONS = ("bounce", "circle", "swing", "hop")


@dataclass(frozen=True)
class Wave:
    """middle + reach · w(start + hertz · time), where w lies in [-1, 1] and has the period 1.

    kind  "triangle" rises and falls at one speed, "sine" as a pendulum, "parabola" as a thrown ball that lands at 1
    """

    kind: str
    middle: float
    reach: float
    hertz: float
    start: float

    def at(self, seconds: Floats) -> Floats:
        """The values at these times, of the same shape."""
        turns = self.start + self.hertz * seconds
        part = turns - np.floor(turns)
        wave: Floats
        if self.kind == "triangle":
            wave = 1.0 - 4.0 * np.minimum(part, 1.0 - part)
        elif self.kind == "parabola":
            wave = 1.0 - 8.0 * part * (1.0 - part)
        else:
            wave = np.sin(math.tau * part)
        return self.middle + self.reach * wave

    def bounces(self, seconds: float) -> list[float]:
        """The times in (0, seconds) at which it turns round at once; none for a sine."""
        per_period = {"triangle": 2, "parabola": 1, "sine": 0}[self.kind]
        first = math.floor(self.start * per_period) + 1
        last = math.ceil((self.start + self.hertz * seconds) * per_period)
        return [(number / per_period - self.start) / self.hertz for number in range(first, last)]


@dataclass(frozen=True)
class Motion:
    """A path in the unit square, x running right and y down."""

    kind: str
    x: Wave
    y: Wave

    def positions(self, seconds: Floats) -> Floats:
        """The places at (time,) seconds: (time, 2), x and y."""
        return np.stack([self.x.at(seconds), self.y.at(seconds)], axis=1)

    def bounces(self, seconds: float) -> list[float]:
        """The times in (0, seconds) at which it meets a wall or the floor, in order."""
        return sorted(self.x.bounces(seconds) + self.y.bounces(seconds))


def motion_of(kind: str, radius: float, units: Sequence[float]) -> Motion:
    """A motion that keeps a circle of this radius within the unit square; `units` are six numbers in [0, 1)."""
    free = rounded(0.5 - radius)
    if kind == "bounce":
        return Motion(kind, _between_walls(free, *units[0:2]), _between_walls(free, *units[2:4]))
    if kind == "hop":
        half = rounded(between(0.6, 1.0, units[2]) * free)
        ball = Wave("parabola", rounded(0.5 + free - half), half, rounded(0.5 / math.sqrt(half)), units[3])
        return Motion(kind, _between_walls(free, *units[0:2]), ball)
    hertz = between(0.25, 0.5, units[0])
    if kind == "circle":
        reach = rounded(between(0.5, 1.0, units[2]) * free)
        x, y = (between(0.5 - free + reach, 0.5 + free - reach, unit) for unit in units[4:6])
        ahead = 0.25 if units[1] < 0.5 else 0.75  # clockwise, or not
        return Motion(
            kind, Wave("sine", x, reach, hertz, units[3] + ahead), Wave("sine", y, reach, hertz, units[3])
        )
    angle = math.tau * units[2]
    reaches = (rounded(free * math.cos(angle)), rounded(free * math.sin(angle)))
    x, y = (
        between(0.5 - free + abs(reach), 0.5 + free - abs(reach), unit)
        for reach, unit in zip(reaches, units[4:6], strict=True)
    )
    return Motion(kind, Wave("sine", x, reaches[0], hertz, units[3]), Wave("sine", y, reaches[1], hertz, units[3]))


def _between_walls(free: float, speed: float, start: float) -> Wave:
    """To and fro through the whole of the square, at a speed of 0.2 to 0.45 of its side per second."""
    return Wave("triangle", 0.5, free, rounded(between(0.2, 0.45, speed) / (4.0 * free)), start)
