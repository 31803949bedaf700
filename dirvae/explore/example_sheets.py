"""Explorations that show examples of the run: exemplars of components, and nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dirvae.choices import Distance
from dirvae.explore.distances import exemplars, neighbours
from dirvae.explore.explored import Explored, chosen_components, typical_number
from dirvae.explore.sheet import ExplorationError, Sheet
from pipelines.shown_names import shown_name

__all__ = ["exemplar_sheet", "neighbour_sheet"]

USED_ROWS = 5
"""Components that are shown by default."""


def exemplar_sheet(explored: Explored, *, components: Sequence[int] | None, num: int) -> Sheet:
    """A row for each component: the examples with most of it."""
    chosen = chosen_components(explored, components, USED_ROWS)
    found = [exemplars(explored.latents, one, num) for one in chosen]
    numbers = torch.cat([order for order, _ in found])
    amounts = torch.cat([amounts for _, amounts in found])
    least = min(num, len(explored.keys))
    amount = "share" if explored.on_simplex else "value"
    where = " in the mean over the cells" if explored.latents.ndim > 2 else ""
    plural = "s" * (len(chosen) > 1)
    return Sheet(
        latents=None,
        examples=numbers,
        rows=len(chosen),
        row_labels=tuple(f"component {one}" for one in chosen),
        column_labels=(),
        caption=f"The {least} of {len(explored.keys):,} examples with most of component{plural} "
        f"{', '.join(map(str, chosen))}{where}; the most comes first, and below each stands the {amount} that it has.",
        cell_labels=tuple(f"{amount_:.2f}" for amount_ in amounts.tolist()),
    )


def neighbour_sheet(explored: Explored, *, key: str | None, num: int, distance: Distance) -> Sheet:
    """An example and its nearest neighbours."""
    if distance == "aitchison" and not explored.on_simplex:
        raise ExplorationError(
            f"Aitchison's distance needs shares, but the latents of {explored.name} are not on the simplex. Take "
            "distance euclidean or l1."
        )
    number = typical_number(explored, key)
    order, far = neighbours(explored.latents, explored.latents[number], num, distance=distance, without=number)
    name = {"aitchison": "Aitchison", "l1": "L1", "euclidean": "Euclidean"}[distance]
    labels = [shown_name(explored.keys[one], quoted=False) for one in [number, *order.tolist()]]
    return Sheet(
        latents=None,
        examples=torch.cat([torch.tensor([number]), order.cpu()]),
        rows=-(-(len(order) + 1) // 8),
        row_labels=(),
        column_labels=(),
        caption=f"{shown_name(explored.keys[number])} and its {len(order)} nearest of {len(explored.keys) - 1:,} "
        f"examples by {name} distance of their latents, which stands below each.",
        cell_labels=(
            labels[0],
            *(f"{label}\n{apart:.2f}" for label, apart in zip(labels[1:], far.tolist(), strict=True)),
        ),
    )
