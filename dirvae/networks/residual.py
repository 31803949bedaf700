"""What the residual networks of images and of clips share: presets, sizes, both halves' passes, first weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from torch import Tensor, nn

from dirvae.choices import LEVELS
from dirvae.latents.conditional_dirichlet import ConditionalDirichlet
from dirvae.latents.dense import Dense
from dirvae.levels import MapLevel

__all__ = [
    "PRESETS",
    "Preset",
    "ResidualDecoder",
    "ResidualEncoder",
    "Shape",
    "Side",
    "both_sides",
    "choose_levels",
    "find_shape",
    "find_two_levels",
    "group_norm",
    "make_map_level",
    "unit_gain",
    "usual_grid",
]

MAX_VECTOR_SIDE = 7
USUAL_MAP_LEVEL = 2
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


S = TypeVar("S", bound="Shape")

Side = int | Sequence[int]
"""Of a square, or (height, width)."""


@dataclass(frozen=True)
class Shape:
    """What both halves must agree on: halvings of the side, and the map that a vector latent is flattened from.

    `map_level`: of two levels, after how many halvings less one the map stands; None without two.
    """

    preset: Preset
    channels: int
    model_size: int
    levels: int
    vector_map: tuple[int, int] | None
    map_level: int | None = None

    @property
    def deepest(self) -> int:
        """Channels where the map is smallest."""
        return self.preset.width(self.levels - 1)

    def map_cells(self, size: Side) -> tuple[int, int]:
        """The grid of the map of two levels."""
        assert self.map_level is not None
        height, width = both_sides(size)
        return height >> (self.map_level + 1), width >> (self.map_level + 1)


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


def find_two_levels(shape: S, size: Side, grid: Side | None, *, plural: str = "images") -> S:
    """The shape of a vector's network with a map of `grid` cells beside it; None: a cell for every 8 × 8 pixels.

    Smaller sizes have a cell for 4 × 4 or 2 × 2. ValueError for a grid that the network does not pass on its way.
    """
    if shape.levels < 2:
        raise ValueError(f"{plural} of {_in_pixels(both_sides(size))} pixels are too small for two levels.")
    levels = range(shape.levels - 1)
    found = {replace(shape, map_level=level).map_cells(size): level for level in levels}
    if grid is None:
        return replace(shape, map_level=min(USUAL_MAP_LEVEL, shape.levels - 2))
    if (cells := both_sides(grid)) not in found:
        known = ", ".join(f"{rows}×{columns}" for rows, columns in found)
        raise ValueError(
            f"a map of {cells[0]}×{cells[1]} latents does not fit beside the vector of {plural} of "
            f"{_in_pixels(both_sides(size))} pixels; the grid must be one of {known}."
        )
    return replace(shape, map_level=found[cells])


def choose_levels(levels: str | None, grid: Side | None) -> str:
    """Which latents: "vector", "map" or "both"; None is a map if a grid is given. ValueError for what does not fit."""
    chosen = ("vector" if grid in (None, 1) else "map") if levels is None else levels
    if chosen not in LEVELS:
        raise ValueError(f"levels is {levels!r}; use one of {', '.join(LEVELS)}.")
    if chosen == "vector" and grid not in (None, 1):
        raise ValueError(f"levels is 'vector', which has no grid, but the grid is {grid}; leave one of them out.")
    if chosen != "vector" and grid == 1:
        raise ValueError(f"levels is {chosen!r}, but a map of one cell is a vector; give another grid.")
    return chosen


def usual_grid(size: Side) -> tuple[int, int]:
    """A cell for every 8 × 8 pixels, or for fewer of sizes below 16."""
    height, width = both_sides(size)
    halvings = min(USUAL_MAP_LEVEL + 1, max(1, min(height, width).bit_length() - 2))
    return height >> halvings, width >> halvings


def _in_pixels(sides: tuple[int, int]) -> str:
    return str(sides[0]) if sides[0] == sides[1] else f"{sides[0]}×{sides[1]}"


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation over groups of 16 channels, or one group where 16 does not divide them."""
    return nn.GroupNorm(channels // 16 if channels % 16 == 0 else 1, channels)


def make_map_level(shape: Shape, map_size: int) -> MapLevel:
    """The map beside a vector, for features of any number of axes; untrained, its prior is the usual one."""
    assert shape.map_level is not None
    width = shape.preset.width(shape.map_level)
    concentrations = Dense(width, map_size)
    nn.init.zeros_(concentrations.weight)
    nn.init.constant_(concentrations.bias, ConditionalDirichlet.prior_start(map_size))
    prior_head = nn.Sequential(group_norm(width), nn.SiLU(), concentrations)
    return MapLevel(
        read=nn.Sequential(group_norm(width), nn.SiLU(), unit_gain(Dense(width, map_size))),
        latent=ConditionalDirichlet(map_size, prior_head=prior_head),
        entry=unit_gain(Dense(map_size, width)),
    )


def unit_gain(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """Start with outputs of the inputs' variance; PyTorch's own start has a third of it."""
    nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
    return layer


class ResidualEncoder(nn.Module):
    """Layers from (batch, channel, *dims) in [0, 1] to features (batch, model_size) or (batch, model_size, *grid).

    The first `num_before` layers make the hidden features that a map beside the vector is read from.
    """

    def __init__(self, layers: Sequence[nn.Module], num_before: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self._num_before = num_before

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(2 * x - 1)
        return features

    def levels(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the vector, and the hidden features (batch, width, *grid) for the map beside it."""
        hidden = _through(self.layers, 2 * x - 1, end=self._num_before)
        return _through(self.layers, hidden, begin=self._num_before), hidden


class ResidualDecoder(nn.Module):
    """Layers from (batch, model_size) or (batch, model_size, *grid) to (batch, channel, *dims), at first all grey.

    The first `num_before` layers make the trunk that a map beside the vector is added to.
    """

    def __init__(self, layers: Sequence[nn.Module], num_before: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self._num_before = num_before

    def forward(self, latent: Tensor) -> Tensor:
        decoded: Tensor = self.layers(latent) + 0.5
        return decoded

    def start(self, latent: Tensor) -> Tensor:
        """From the vector to the trunk on the map's grid: (batch, width, *grid)."""
        return _through(self.layers, latent, end=self._num_before)

    def finish(self, trunk: Tensor) -> Tensor:
        """From the trunk to (batch, channel, *dims)."""
        return _through(self.layers, trunk, begin=self._num_before) + 0.5


def _through(layers: nn.Sequential, x: Tensor, *, begin: int = 0, end: int | None = None) -> Tensor:
    """`x` through the layers from `begin` up to `end`."""
    for layer in islice(layers, begin, end):
        x = layer(x)
    return x
