"""What a sheet looks like: lengths, colours and sizes of letters. Lengths are in points; a point is two pixels."""

from __future__ import annotations

__all__ = [
    "ACCENT",
    "DARK",
    "FAINT",
    "INK",
    "LIGHT",
    "MAT",
    "PAPER",
    "QUIET",
    "SCALE",
    "UNKNOWN",
    "Colour",
    "class_colour",
    "pixels",
    "readable_on",
]

Colour = tuple[int, int, int]
"""sRGB, 0 to 255."""

SCALE = 2
PAPER: Colour = (250, 249, 246)
MAT: Colour = (240, 238, 233)
INK: Colour = (34, 36, 40)
QUIET: Colour = (120, 121, 124)
FAINT: Colour = (216, 213, 206)
ACCENT: Colour = (52, 84, 138)
LIGHT: Colour = (255, 255, 255)
DARK: Colour = (22, 24, 28)
UNKNOWN: Colour = (128, 132, 138)
PALETTE: tuple[Colour, ...] = (
    (228, 76, 60),  # red
    (38, 128, 214),  # blue
    (44, 160, 84),  # green
    (247, 181, 26),  # yellow
    (142, 76, 178),  # purple
    (18, 176, 176),  # teal
    (240, 102, 170),  # pink
    (150, 98, 56),  # brown
    (242, 128, 40),  # orange
    (74, 84, 206),  # indigo
    (146, 178, 34),  # lime
    (100, 124, 150),  # slate
)
SHADES = (0.0, -0.28, 0.34)
"""Towards black or white, for classes beyond the palette's length, and beyond twice it."""


def pixels(points: float) -> int:
    """A length in whole pixels of the sheet."""
    return round(points * SCALE)


def class_colour(number: int) -> Colour:
    """The colour of a class by its number: always the same; grey for -1, which is an unknown one."""
    if number < 0:
        return UNKNOWN
    shade = SHADES[number // len(PALETTE) % len(SHADES)]
    goal = 255 if shade > 0 else 0
    red, green, blue = (round(value + (goal - value) * abs(shade)) for value in PALETTE[number % len(PALETTE)])
    return red, green, blue


def readable_on(colour: Colour) -> Colour:
    """The colour of letters on a ground of this colour: dark or light, whichever stands out more."""
    red, green, blue = ((value / 255) ** 2.2 for value in colour)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return DARK if luminance > 0.32 else LIGHT
