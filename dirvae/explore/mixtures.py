"""Latents made from components and from other latents: vertices and faces, masks, sums and differences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from dirvae.explore.compositions import closed
from dirvae.explore.traversals import with_component

__all__ = ["SMALLEST_CONCENTRATION", "archetypes", "arithmetic", "faces", "mask_components"]

SMALLEST_CONCENTRATION = 1e-3
"""What smaller results of sums and differences of concentrations are raised to: a Dirichlet needs values above 0."""


def faces(components: Sequence[int], order: int) -> list[tuple[int, ...]]:
    """The faces of the simplex that `order` of these components span, in their order: vertices, edges, triangles …"""
    if not 1 <= order <= len(components):
        raise ValueError(f"order is {order}; it must be from 1 to the {len(components)} components.")
    return list(combinations(components, order))


def archetypes(
    model_size: int, spanning: Sequence[Sequence[int]], grid: Sequence[int] = (), dtype: torch.dtype = torch.float32
) -> Tensor:
    """The middle of each face of the simplex that these components span: (num, model_size, *grid), all cells alike.

    A face of one component is a vertex, that component alone; of two the middle of an edge, and so on.
    """
    middle = torch.zeros(len(spanning), model_size, dtype=dtype)
    for row, components in enumerate(spanning):
        middle[row, list(components)] = 1 / len(components)
    return middle.view(len(spanning), model_size, *(1,) * len(grid)).expand(-1, -1, *grid).contiguous()


def mask_components(
    latent: Tensor, components: Sequence[int], *, rest: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A latent without each of these components, and with it alone: two of (num, model_size, *grid).

    Without `rest` the latent is on the simplex: what is left is renormalised in each cell, so that a component alone
    has all of it. With `rest` (model_size, *grid), such as the mean over all examples, what is removed takes its
    values: for latents that are not shares.
    """
    if rest is None:
        zero = torch.zeros(1, dtype=latent.dtype)
        without = [with_component(latent, component, zero, on_simplex=True)[0] for component in components]
        alone = archetypes(len(latent), [[one] for one in components], latent.shape[1:], latent.dtype)
        return torch.stack(without), alone.to(latent.device)
    is_masked = torch.zeros(len(components), *latent.shape, dtype=torch.bool, device=latent.device)
    for row, component in enumerate(components):
        is_masked[row, component] = True
    return torch.where(is_masked, rest, latent), torch.where(is_masked, latent, rest)


def arithmetic(values: Tensor, weights: Sequence[float], *, smallest: float | None = None) -> tuple[Tensor, int]:
    """The weighted sum of latents or concentrations (num, model_size, *grid), and how many values were clamped.

    With `smallest` what falls below it is raised to it, and the result is normalised to shares: for concentrations,
    whose sum is again that of a Dirichlet, and for shares. None: the plain sum, for latents that are not shares.
    """
    if len(weights) != len(values):
        raise ValueError(f"there are {len(weights)} weights for {len(values)} latents; give one for each.")
    factors = torch.tensor(list(weights), dtype=torch.float64).to(values)
    total = torch.tensordot(factors, values, dims=1)
    if smallest is None:
        return total, 0
    return closed(total.clamp(min=smallest)), int((total < smallest).sum())
