"""Paths through a latent space, as pure functions: between two latents, and towards each component.

A latent is (model_size, *grid): in each grid cell shares that sum to 1 over the first axis, or any numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["component_latents", "farthest_pair", "interpolate", "seen_strength"]


def interpolate(start: Tensor, end: Tensor, num: int) -> Tensor:
    """`num` ≥ 2 latents on the straight line from `start` to `end`, both included: (num, model_size, *grid).

    The simplex is convex, so every latent between two of its points lies on it.
    """
    if num < 2:
        raise ValueError(f"num is {num}; a line has at least its 2 ends.")
    share = torch.linspace(0, 1, num, dtype=start.dtype, device=start.device)
    return torch.lerp(start[None], end[None], share.view(num, *(1,) * start.ndim))


def seen_strength(latents: Tensor, *, quantile: float = 0.95) -> Tensor:
    """How strong each component gets: its quantile over the examples and cells of (num, model_size, *grid), as
    (model_size,). A decoder has hardly seen values beyond it.
    """
    components = latents.movedim(1, 0).flatten(1).float()
    return torch.stack([component.quantile(quantile) for component in components])


def component_latents(center: Tensor, strength: Tensor, *, on_simplex: bool) -> Tensor:
    """One latent per component, with that component at its strength: (model_size, model_size, *grid).

    `center` (model_size, *grid) is the start, `strength` (model_size,) the goal of each component. On the simplex the
    latent moves straight towards the component's vertex, the others keep their proportions, and a component that is
    already stronger does not change; elsewhere only the component itself is set.
    """
    size = len(center)
    ones = (1,) * (center.ndim - 1)
    vertices = torch.eye(size, dtype=center.dtype, device=center.device).view(size, size, *ones)
    goal = strength.to(center).view(size, *ones)
    if not on_simplex:
        return center[None] * (1 - vertices) + goal[:, None] * vertices
    share = ((goal - center) / (1 - center).clamp(min=1e-6)).clamp(0, 1)[:, None]
    return center[None] + share * (vertices - center[None])


def farthest_pair(latents: Tensor) -> tuple[int, int]:
    """The two of (num ≥ 1, model_size, *grid) that are farthest apart in the sum of absolute differences."""
    flat = latents.flatten(1).float()
    first, second = divmod(int(torch.cdist(flat, flat, p=1).argmax()), len(flat))
    return min(first, second), max(first, second)
