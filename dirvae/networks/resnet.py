"""A small residual network for images, as the two halves of an autoencoder.

Pre-activation residual blocks (He et al. 2016, arXiv 1603.05027) with group normalisation and SiLU. The side is
halved by 2×2 patches and doubled by bilinear interpolation: pixel shuffles and nearest neighbours train a little
faster, but leave a lattice in the pictures (measured in docs/log.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dirvae.latents import Latent, named_latent
from dirvae.levels import USUAL_DROPPED, LevelledAutoEncoder
from dirvae.losses import Likelihood, named_likelihood
from dirvae.networks.arguments import arguments_to_json
from dirvae.networks.residual import (
    PRESETS,
    Preset,
    ResidualDecoder,
    ResidualEncoder,
    Shape,
    Side,
    both_sides,
    choose_levels,
    find_shape,
    find_two_levels,
    group_norm,
    make_map_level,
    unit_gain,
    usual_grid,
)

__all__ = ["PRESETS", "Preset", "ResNetVAE"]


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity, which is all it is untrained: (batch, channel, *dims) → the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = group_norm(channels), group_norm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.conv1(F.silu(self.norm1(x)))
        change = self.conv2(F.silu(self.norm2(change)))
        return x + change


class ImageEncoder(ResidualEncoder):
    """(batch, channels, height, width) in [0, 1] → features (batch, model_size) or (batch, model_size, *grid)."""

    def __init__(self, shape: Shape) -> None:
        width = shape.preset.width(0)
        layers: list[nn.Module] = [nn.Conv2d(shape.channels, width, 4, stride=2, padding=1)]
        counts: list[int] = []
        for level in range(shape.levels):
            if level > 0:
                layers.append(nn.Conv2d(width, shape.preset.width(level), 2, stride=2))
                width = shape.preset.width(level)
            layers += [ResidualBlock(width) for _ in range(shape.preset.blocks)]
            counts.append(len(layers))
        layers += [group_norm(width), nn.SiLU()]
        if shape.vector_map is None:
            layers.append(unit_gain(nn.Conv2d(width, shape.model_size, 1)))
        else:
            layers += [nn.Flatten(), unit_gain(nn.Linear(width * math.prod(shape.vector_map), shape.model_size))]
        super().__init__(layers, counts[shape.map_level] if shape.map_level is not None else len(layers))


class ImageDecoder(ResidualDecoder):
    """(batch, model_size) or (batch, model_size, *grid) → (batch, channels, height, width), at first all grey."""

    def __init__(self, shape: Shape) -> None:
        width, small = shape.deepest, shape.vector_map
        layers: list[nn.Module] = []
        counts: dict[int | None, int] = {}
        if small is None:
            layers.append(unit_gain(nn.Conv2d(shape.model_size, width, 1)))
        else:
            layers += [
                unit_gain(nn.Linear(shape.model_size, width * math.prod(small))),
                nn.Unflatten(1, (width, *small)),
            ]
        for level in reversed(range(shape.levels)):
            counts[level] = len(layers)
            layers += [ResidualBlock(width) for _ in range(shape.preset.blocks)]
            if level > 0:
                layers += [nn.Conv2d(width, shape.preset.width(level - 1), 1), _doubled()]
                width = shape.preset.width(level - 1)
        layers += [group_norm(width), _doubled(), nn.Conv2d(width, width // 2, 3, padding=1)]
        layers += [nn.SiLU(), nn.Conv2d(width // 2, shape.channels, 3, padding=1)]
        super().__init__(layers, counts.get(shape.map_level, 0))


def _doubled() -> nn.Module:
    return nn.Upsample(scale_factor=2, mode="bilinear")


class ResNetVAE(LevelledAutoEncoder):
    """Autoencoder of images (batch, channels, height, width) in [0, 1].

    `size`: the side of squares, or (height, width): without a map alone, 3, 4, 5 or 7 times a power of two, the same
    one for both sides; with one, the grid times a power of two from 2 on.
    `levels`: "vector", one latent an image, (batch, model_size); "map", a map of them, (batch, model_size, 8, 8) with
    `grid=8`, or (rows, columns); "both", a vector and beside it a map of simplexes of `map_size` components, left out
    in training in the share `map_dropped` of the images (see `dirvae.levels`). None: a map if a grid is given, else a
    vector. The grid of "map" and "both" is a cell for every 8 × 8 pixels by default. ValueError for what does not fit.
    `preset`: "tiny", "small", "base" or "large". `latent`, `likelihood`: as for `AutoEncoder`. `prior`: that of a
    latent given by name, its own default if None. `fixed_scale`: the scale the likelihood stays at, learned if None.
    `config` holds the arguments as JSON values: `ResNetVAE(**model.config)` is the same network, untrained.
    """

    def __init__(
        self,
        size: Side = 64,
        *,
        channels: int = 3,
        model_size: int = 32,
        levels: str | None = None,
        grid: Side | None = None,
        map_size: int = 16,
        map_dropped: float = USUAL_DROPPED,
        preset: str = "tiny",
        latent: str | Latent = "dirichlet",
        prior: float | Sequence[float] | str | None = None,
        likelihood: str | Likelihood = "gaussian",
        fixed_scale: float | None = None,
    ) -> None:
        size = size if isinstance(size, int) else both_sides(size)
        chosen = choose_levels(levels, grid)
        grid = None if grid == 1 else usual_grid(size) if chosen == "map" and grid is None else grid
        of_map = grid if chosen == "map" else None
        shape = find_shape(size, of_map, channels=channels, model_size=model_size, preset=preset)
        if chosen == "both":
            shape = find_two_levels(shape, size, grid)
        super().__init__(
            ImageEncoder(shape),
            ImageDecoder(shape),
            model_size,
            latent=named_latent(latent, model_size, prior),
            likelihood=named_likelihood(likelihood, fixed_scale=fixed_scale),
            grid=() if of_map is None else both_sides(of_map),
            map_level=None if shape.map_level is None else make_map_level(shape, map_size),
            map_grid=() if shape.map_level is None else shape.map_cells(size),
            map_dropped=map_dropped,
        )
        self._config: dict[str, Any] = {
            "size": size,
            "channels": channels,
            "model_size": model_size,
            "grid": grid if grid is None or isinstance(grid, int) else both_sides(grid),
            "preset": preset,
            "latent": latent,
            "prior": prior,
            "likelihood": likelihood,
            "fixed_scale": fixed_scale,
            **({"levels": chosen, "map_size": map_size, "map_dropped": map_dropped} if chosen == "both" else {}),
        }
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def config(self) -> dict[str, Any]:
        """The arguments as JSON values. ValueError if the latent or the likelihood was given as a module."""
        return arguments_to_json(self._config)

    def activation_parts(self) -> list[nn.Module]:
        """The parts that `checkpoint_activations` of a `Trainer` computes twice; none without a map: whole halves."""
        return (
            [] if self.map_level is None else [part for part in self.modules() if isinstance(part, ResidualBlock)]
        )
