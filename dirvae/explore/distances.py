"""Examples that are nearest to a latent, have most of a component, or are typical."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dirvae.choices import DISTANCES, Distance
from dirvae.explore.compositions import centred_log_ratios
from dirvae.float64 import wide

__all__ = ["distances_to", "exemplars", "neighbours", "typical_example"]


def distances_to(latents: Tensor, latent: Tensor, *, distance: Distance = "euclidean") -> Tensor:
    """Distance of each of (num, model_size, *grid) from `latent` (model_size, *grid): (num,).

    "aitchison"  Euclidean in centred log-ratios, for shares (Aitchison 1986); those below 1e-6 are raised to it
    "l1"         sum of the absolute differences
    "euclidean"  root of the sum of their squares

    In all cells of a grid together, in float64 where the device has it.
    """
    if distance not in DISTANCES:
        raise ValueError(f"distance is {distance!r}; it must be one of {', '.join(DISTANCES)}.")
    space: Callable[[Tensor], Tensor] = centred_log_ratios if distance == "aitchison" else wide
    apart = (space(latents) - space(latent[None])).flatten(1)
    found: Tensor = apart.abs().sum(1) if distance == "l1" else torch.linalg.vector_norm(apart, dim=1)
    return found


def neighbours(
    latents: Tensor, latent: Tensor, num: int, *, distance: Distance = "euclidean", without: int | None = None
) -> tuple[Tensor, Tensor]:
    """The numbers of the `num` nearest of (many, model_size, *grid) to a latent, nearest first, and their distances.

    (num,) int64 and (num,); fewer if there are not enough examples. `without`: the number of an example to leave out,
    such as that of the latent. Of equal distances the lower number comes first.
    """
    found = distances_to(latents, latent, distance=distance)
    if without is not None:
        found[without] = torch.inf
    order = found.argsort(stable=True)[: min(num, len(found) - (without is not None))]
    return order, found[order]


def exemplars(latents: Tensor, component: int, num: int) -> tuple[Tensor, Tensor]:
    """The numbers of the `num` examples of (many, model_size, *grid) with most of a component, and how much they have.

    (num,) int64 and (num,), most first; on a grid by the mean over the cells. Of equal values the lower number comes
    first.
    """
    amounts = wide(latents[:, component])
    amounts = amounts.flatten(1).mean(1) if amounts.ndim > 1 else amounts
    order = amounts.argsort(descending=True, stable=True)[:num]
    return order, amounts[order]


def typical_example(latents: Tensor) -> int:
    """The number of the example of (num ≥ 1, model_size, *grid) that is nearest to their mean."""
    return int(distances_to(latents, latents.mean(0)).argmin())
