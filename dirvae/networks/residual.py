"""What the residual networks of images and of clips share: presets, sizes, normalisation and first weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

__all__ = ["PRESETS", "Preset", "Shape", "Side", "both_sides", "find_shape", "group_norm", "unit_gain"]

MAX_VECTOR_SIDE = 7
SIZES = "3, 4, 5 or 7 times a power of two, such as 28, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224 or 256"


@dataclass(frozen=True)
class Preset:
    """Channels at 1/2, 1/4, 1/8 … of the image's side, and residual blocks at each of them."""

    widths: tuple[int, ...]
    blocks: int

    def width(self, level: int) -> int:
        """Channels after `level` + 1 halvings; the last width serves all deeper levels."""
        return self.widths[min(level, len(self.widths) - 1)]


PRESETS = {
    "tiny": Preset(widths=(16, 32, 48, 64), blocks=1),
    "small": Preset(widths=(32, 64, 96, 128), blocks=1),
    "base": Preset(widths=(64, 128, 192, 256), blocks=2),
    "large": Preset(widths=(96, 192, 384, 512), blocks=3),
}


Side = int | Sequence[int]
"""Of a square, or (height, width)."""


@dataclass(frozen=True)
class Shape:
    """What both halves must agree on: halvings of the side, and the map that a vector latent is flattened from."""

    preset: Preset
    channels: int
    model_size: int
    levels: int
    vector_map: tuple[int, int] | None

    @property
    def deepest(self) -> int:
        """Channels where the map is smallest."""
        return self.preset.width(self.levels - 1)


def both_sides(side: Side) -> tuple[int, int]:
    """(height, width) of a side. ValueError for other numbers of sides."""
    if isinstance(side, int):
        return side, side
    if len(side) != 2:
        raise ValueError(f"{tuple(side)} has {len(side)} sides; give one of a square, or (height, width).")
    return side[0], side[1]


def find_shape(
    size: Side, grid: Side | None, *, channels: int, model_size: int, preset: str, plural: str = "images"
) -> Shape:
    """The network's shape for `size` pixels. ValueError for sizes that do not come out even.

    `plural` says in errors what has the size.
    """
    if preset not in PRESETS:
        raise ValueError(f"no preset is called {preset!r}; use one of {', '.join(PRESETS)}.")
    sides = both_sides(size)
    if grid is not None:
        cells = both_sides(grid)
        levels = (sides[0] // cells[0]).bit_length() - 1 if 0 < cells[0] <= sides[0] else 0
        if levels < 1 or any(cell << levels != side for cell, side in zip(cells, sides, strict=True)):
            raise ValueError(
                f"a map of {cells[0]}×{cells[1]} latents does not fit {plural} of {_in_pixels(sides)} pixels; the size "
                "must be the grid times 2, 4, 8 or another power of two."
            )
        return Shape(PRESETS[preset], channels, model_size, levels, None)
    (height, width), levels = sides, 0
    while max(height, width) > 4 and height % 2 == width % 2 == 0:
        height, width, levels = height // 2, width // 2, levels + 1
    if levels < 1 or max(height, width) > MAX_VECTOR_SIDE:
        raise ValueError(
            f"{plural} of {_in_pixels(sides)} pixels cannot be halved to a small map; the size must be {SIZES}"
            f"{'' if sides[0] == sides[1] else ', and both the same power of two'}."
        )
    return Shape(PRESETS[preset], channels, model_size, levels, (height, width))


def _in_pixels(sides: tuple[int, int]) -> str:
    return str(sides[0]) if sides[0] == sides[1] else f"{sides[0]}×{sides[1]}"


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation over groups of 16 channels, or one group where 16 does not divide them."""
    return nn.GroupNorm(channels // 16 if channels % 16 == 0 else 1, channels)


def unit_gain(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """Start with outputs of the inputs' variance; PyTorch's own start has a third of it."""
    nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
    return layer
