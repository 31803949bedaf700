"""The comparison of runs: examples with their reconstructions, and how much each component is used."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.explore import usage
from dirvae.metrics import is_simplex

__all__ = ["ComparedExample", "Comparison", "component_use", "mean_use"]

ROWS = 8
"""Examples that are encoded at a time."""


@dataclass(frozen=True)
class ComparedExample:
    """An example and its reconstruction by a run, as data URIs of pictures, and the quality in words.

    For sounds, the pictures are spectrograms, and `sounds` has the data URIs of the original and the reconstruction.
    """

    original: str
    reconstruction: str
    score: str
    sounds: tuple[str, str] | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """The part of one run: its examples, and `use` (component,) as `mean_use` returns it, None without a latent."""

    examples: list[ComparedExample]
    use: Tensor | None


@torch.inference_mode()
def component_use(model: AutoEncoder, x: Tensor) -> Tensor:
    """`mean_use` of the means of the posteriors of examples (num, channel, *dims) in [0, 1]."""
    model.eval()
    device = next(model.parameters()).device
    latents = torch.cat([model.encode(part.to(device)).mean.cpu() for part in torch.split(x, ROWS)])
    return mean_use(latents.movedim(1, -1).flatten(0, -2))


def mean_use(rows: Tensor) -> Tensor:
    """How much each component of latents (row, component) is used, the most used first: (component,) on the CPU.

    For shares this is the mean (all means add up to 1); for other latents it is the standard deviation over the rows.
    """
    on_simplex = is_simplex(rows)
    found = usage(rows, on_simplex=on_simplex)
    return (found.means if on_simplex else found.spread).sort(descending=True).values.cpu()
