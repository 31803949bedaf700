"""A small residual network for clips of video, as the two halves of an autoencoder.

Each convolution over space and time is two (Tran et al. 2018, arXiv 1711.11248): one over the pixels of every frame,
one over the frames at every pixel. Both are 2-D convolutions over two views of the same memory, channels last: on a
CPU that took a fifth of the time of `nn.Conv3d` for a step of the one over time, and the same for the one over space.
The side is halved and doubled as in `resnet.py`, and the number of frames beside it, while more than four are left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dirvae.latents import Latent, named_latent
from dirvae.levels import USUAL_DROPPED, LevelledAutoEncoder
from dirvae.losses import Likelihood, named_likelihood
from dirvae.networks.arguments import arguments_to_json
from dirvae.networks.residual import (
    ResidualDecoder,
    ResidualEncoder,
    Shape,
    choose_levels,
    find_shape,
    find_two_levels,
    group_norm,
    make_map_level,
    unit_gain,
    usual_grid,
)

__all__ = ["VideoVAE"]

FEWEST_FRAMES = 4
"""Up to this many frames are not halved."""


@dataclass(frozen=True, kw_only=True)
class ClipShape(Shape):
    """A `Shape`, and the number of frames after each halving of the side, the first one on."""

    frames: tuple[int, ...]


def clip_shape(
    size: int, clip_frames: int, grid: int | None, *, channels: int, model_size: int, preset: str
) -> ClipShape:
    """The network's shape for clips of square frames. ValueError for sizes that do not come out even."""
    if clip_frames < 1:
        raise ValueError(f"clip_frames is {clip_frames}; a clip has 1 frame or more.")
    shape = find_shape(size, grid, channels=channels, model_size=model_size, preset=preset, plural="frames")
    frames = [clip_frames]
    for _ in range(shape.levels - 1):
        frames.append(-(-frames[-1] // 2) if frames[-1] > FEWEST_FRAMES else frames[-1])
    return ClipShape(**vars(shape), frames=tuple(frames))


def in_frames(x: Tensor) -> Tensor:
    """(batch, channel, time, height, width) → (batch · time, channel, height, width), a view if channels are last."""
    return x.transpose(1, 2).flatten(0, 1)


def in_clips(frames: Tensor, batch: int) -> Tensor:
    """The way back from `in_frames`."""
    return torch.unflatten(frames, 0, (batch, -1)).transpose(1, 2)


class SpaceConv(nn.Conv2d):
    """A convolution of every frame: (batch, channel, time, height, width) → the same axes."""

    def forward(self, x: Tensor) -> Tensor:
        return in_clips(super().forward(in_frames(x)), len(x))


class TimeConv(nn.Conv2d):
    """A convolution over three frames at every pixel: (batch, channel, time, height, width) → the same axes.

    `stride=2` halves the number of frames, rounded up.
    """

    def __init__(self, channels: int, *, stride: int = 1) -> None:
        super().__init__(channels, channels, (3, 1), stride=(stride, 1), padding=(1, 0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.unflatten(super().forward(x.flatten(3)), 3, x.shape[3:])


class Enlarged(nn.Module):
    """Twice the side, and `frames` frames, by linear interpolation: (batch, channel, time, height, width)."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        large = in_clips(F.interpolate(in_frames(x), scale_factor=2, mode="bilinear"), len(x))
        if large.shape[2] == self.frames:
            return large
        height, width = large.shape[3:]
        longer = F.interpolate(large.flatten(3), size=(self.frames, height * width), mode="bilinear")
        return torch.unflatten(longer, 3, (height, width))


class ClipBlock(nn.Module):
    """A convolution over space and one over time beside the identity, which is all it is untrained."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = group_norm(channels), group_norm(channels)
        self.space = SpaceConv(channels, channels, 3, padding=1)
        self.time = TimeConv(channels)
        nn.init.zeros_(self.time.weight)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.space(F.silu(self.norm1(x)))
        change = self.time(F.silu(self.norm2(change)))
        return x + change


class ClipEncoder(ResidualEncoder):
    """(batch, channels, time, size, size) in [0, 1] → features (batch, model_size), or a map of them."""

    def __init__(self, shape: ClipShape) -> None:
        width = shape.preset.width(0)
        layers: list[nn.Module] = [SpaceConv(shape.channels, width, 4, stride=2, padding=1)]
        counts: list[int] = []
        for level in range(shape.levels):
            if level > 0:
                layers.append(SpaceConv(width, shape.preset.width(level), 2, stride=2))
                width = shape.preset.width(level)
                if shape.frames[level] < shape.frames[level - 1]:
                    layers.append(TimeConv(width, stride=2))
            layers += [ClipBlock(width) for _ in range(shape.preset.blocks)]
            counts.append(len(layers))
        layers += [group_norm(width), nn.SiLU()]
        if shape.vector_map is None:
            layers.append(unit_gain(SpaceConv(width, shape.model_size, 1)))
        else:
            num = width * shape.frames[-1] * math.prod(shape.vector_map)
            layers += [nn.Flatten(), unit_gain(nn.Linear(num, shape.model_size))]
        super().__init__(layers, counts[shape.map_level] if shape.map_level is not None else len(layers))


class ClipDecoder(ResidualDecoder):
    """(batch, model_size), or a map of them → (batch, channels, time, size, size)."""

    def __init__(self, shape: ClipShape) -> None:
        width, square = shape.deepest, shape.vector_map
        layers: list[nn.Module] = []
        counts: dict[int | None, int] = {}
        if square is None:
            layers.append(unit_gain(SpaceConv(shape.model_size, width, 1)))
        else:
            small = (width, shape.frames[-1], *square)
            num = math.prod(small)
            layers += [unit_gain(nn.Linear(shape.model_size, num)), nn.Unflatten(1, small)]
        for level in reversed(range(shape.levels)):
            counts[level] = len(layers)
            layers += [ClipBlock(width) for _ in range(shape.preset.blocks)]
            if level > 0:
                layers += [SpaceConv(width, shape.preset.width(level - 1), 1), Enlarged(shape.frames[level - 1])]
                width = shape.preset.width(level - 1)
        layers += [group_norm(width), Enlarged(shape.frames[0]), SpaceConv(width, width // 2, 3, padding=1)]
        layers += [nn.SiLU(), SpaceConv(width // 2, shape.channels, 3, padding=1)]
        super().__init__(layers, counts.get(shape.map_level, 0))


class VideoVAE(LevelledAutoEncoder):
    """Autoencoder of clips (batch, channels, clip_frames, size, size) in [0, 1].

    `levels`: as for `ResNetVAE`. A map has a latent for every cell of every frame that is left: with `grid=8`
    (batch, model_size, time, 8, 8), where time is `clip_frames` halved, rounded up, at every halving of the side after
    the first, while more than four are left. `clip_frames`: any number from 1 on. Everything else is as for
    `ResNetVAE`.
    `config` holds the arguments as JSON values: `VideoVAE(**model.config)` is the same network, untrained.
    """

    def __init__(
        self,
        size: int = 64,
        *,
        clip_frames: int = 16,
        channels: int = 3,
        model_size: int = 32,
        levels: str | None = None,
        grid: int | None = None,
        map_size: int = 16,
        map_dropped: float = USUAL_DROPPED,
        preset: str = "tiny",
        latent: str | Latent = "dirichlet",
        prior: float | Sequence[float] | str | None = None,
        likelihood: str | Likelihood = "gaussian",
        fixed_scale: float | None = None,
    ) -> None:
        chosen = choose_levels(levels, grid)
        grid = None if grid == 1 else usual_grid(size)[0] if chosen == "map" and grid is None else grid
        of_map = grid if chosen == "map" else None
        shape = clip_shape(size, clip_frames, of_map, channels=channels, model_size=model_size, preset=preset)
        if chosen == "both":
            shape = find_two_levels(shape, size, grid, plural="frames")
        super().__init__(
            ClipEncoder(shape),
            ClipDecoder(shape),
            model_size,
            latent=named_latent(latent, model_size, prior),
            likelihood=named_likelihood(likelihood, fixed_scale=fixed_scale),
            grid=() if of_map is None else (shape.frames[-1], of_map, of_map),
            map_level=None if shape.map_level is None else make_map_level(shape, map_size),
            map_grid=() if shape.map_level is None else (shape.frames[shape.map_level], *shape.map_cells(size)),
            map_dropped=map_dropped,
        )
        self._config: dict[str, Any] = {
            "size": size,
            "clip_frames": clip_frames,
            "channels": channels,
            "model_size": model_size,
            "grid": grid,
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
        return [] if self.map_level is None else [part for part in self.modules() if isinstance(part, ClipBlock)]
