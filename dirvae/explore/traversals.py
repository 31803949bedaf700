"""Paths through a latent space, as pure functions: between two latents, and towards each component.

A latent is (model_size, *grid): in each grid cell shares that sum to 1 over the first axis, or any numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dirvae.choices import PATHS, PathKind
from dirvae.explore.compositions import aitchison_line, closed

__all__ = [
    "component_latents",
    "farthest_pair",
    "interpolate",
    "seen_strength",
    "traverse",
    "with_component",
]


def interpolate(start: Tensor, end: Tensor, num: int, *, kind: PathKind = "latent") -> Tensor:
    """`num` ≥ 2 latents from `start` to `end`, both included, at equal steps of t: (num, model_size, *grid).

    "latent"         (1 - t) · start + t · end. The simplex is convex, so the path between two of its points stays
                     on it
    "concentration"  the ends are concentrations, > 0: their straight line, normalised to means of the Dirichlets. The
                     path stays near the sharper end for longer
    "aitchison"      the ends are shares: the normalised weighted geometric mean, see `aitchison_line`

    Symmetric: from `end` to `start` the path is the same, backwards.
    """
    if num < 2:
        raise ValueError(f"num is {num}; a line has at least its 2 ends.")
    share = torch.linspace(0, 1, num, dtype=start.dtype, device=start.device)
    if kind == "aitchison":
        return aitchison_line(start, end, share)
    if kind not in PATHS:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(PATHS)}.")
    line = torch.lerp(start[None], end[None], share.view(num, *(1,) * start.ndim))
    return closed(line, dim=1) if kind == "concentration" else line


def with_component(latent: Tensor, component: int, values: Tensor, *, on_simplex: bool) -> Tensor:
    """A latent with a component at each of `values` (num,), the same in all cells: (num, model_size, *grid).

    On the simplex the others share what is left in the proportions that they had, so that their log-ratios are kept; in
    a cell where they were all 0, in equal parts. `values` are in [0, 1] there. Elsewhere the others do not change.
    """
    goal = values.to(latent).view(-1, *(1,) * (latent.ndim - 1))
    moved = latent[None].expand(len(values), *latent.shape).clone()
    if on_simplex:
        others = latent.clone()
        others[component] = 0
        is_empty = others.sum(0, keepdim=True) <= 0
        equal = torch.ones_like(others)
        equal[component] = 0
        moved = closed(torch.where(is_empty, equal, others))[None] * (1 - goal)[:, None]
    moved[:, component] = goal.expand_as(moved[:, component])
    return moved


def traverse(latent: Tensor, component: int, num: int, *, least: float, most: float, on_simplex: bool) -> Tensor:
    """`num` ≥ 2 latents in which a component goes from `least` to `most` in equal steps: (num, model_size, *grid).

    The other components change as in `with_component`. The path does not depend on the value that the component has in
    `latent`, if that is below 1 on the simplex.
    """
    if num < 2:
        raise ValueError(f"num is {num}; a path has at least its 2 ends.")
    values = torch.linspace(least, most, num, dtype=latent.dtype, device=latent.device)
    return with_component(latent, component, values, on_simplex=on_simplex)


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
