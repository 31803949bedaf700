"""How much a set of latents uses each component, and where it lies between some of the components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from dirvae.drawing.simplex import polygon_corners
from dirvae.float64 import wide
from dirvae.metrics import active_units, components_in_use, effective_components

__all__ = ["Usage", "barycentric", "by_use", "usage"]


@dataclass(frozen=True, eq=False)
class Usage:
    """How much each component is used.

    means      (model_size,) float64: mean over examples and cells; on the simplex its share
    spread     (model_size,) float64: standard deviation
    is_in_use  (model_size,) bool, see `components_in_use` and `active_units` of `dirvae.metrics`
    effective  effective number of components: the exponential of the entropy of the mean latent, from 1 to model_size
               (the perplexity of the shares); None off the simplex
    """

    means: Tensor
    spread: Tensor
    is_in_use: Tensor
    effective: float | None


def usage(latents: Tensor, *, on_simplex: bool) -> Usage:
    """The use of each component in latents (num, model_size, *grid), over examples and cells."""
    cells = wide(latents).movedim(1, -1).flatten(0, -2)
    return Usage(
        means=cells.mean(0),
        spread=cells.std(0, correction=0),
        is_in_use=components_in_use(latents) if on_simplex else active_units(latents),
        effective=float(effective_components(latents)) if on_simplex else None,
    )


def by_use(found: Usage) -> list[int]:
    """All components, the most used one first, by mean, and off the simplex by spread; those not in use come last."""
    amount = found.means if found.effective is not None else found.spread
    rank = found.is_in_use.double() + amount / (2 * amount.max().clamp(min=1e-30))
    order: list[int] = rank.argsort(descending=True, stable=True).tolist()
    return order


def barycentric(shares: Tensor, components: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Points (num, 2) of shares (num, model_size) in a regular polygon of three or more components, and how much of
    each example these have together, (num,) in [0, 1].

    Corner k, of radius 1 around (0, 0), is component k of the list: the first at the top, then clockwise, y downwards.
    A point is the mean of the corners weighted by its shares of them; one without any is at the centre.
    """
    if len(components) < 3:
        raise ValueError(f"there are {len(components)} components; a polygon has at least 3.")
    own = wide(shares)[:, list(components)]
    total = own.sum(1)
    points = own / total.clamp(min=1e-12)[:, None] @ polygon_corners(len(components)).to(own)
    return points, total
