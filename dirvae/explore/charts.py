"""Explorations as charts of all examples: the use of each component, and a map between some components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dirvae.drawing.charts import COMPONENT_COLOURS, INK, OTHERS, draw_chart
from dirvae.drawing.simplex import MOST_CORNERS, draw_simplex, polygon_corners
from dirvae.explore.component_use import Usage, barycentric, usage
from dirvae.explore.explored import Explored, chosen_components, vectors
from dirvae.explore.sheet import Chart, ExplorationError

__all__ = ["barycentric_chart", "usage_chart"]


def usage_chart(explored: Explored) -> Chart:
    """How much each component is used."""
    found = usage(explored.latents, on_simplex=explored.on_simplex)
    num, size = int(found.is_in_use.sum()), explored.model_size
    over = f"{len(explored.keys):,} examples" + (" and their cells" if explored.latents.ndim > 2 else "")
    if found.effective is not None:
        rule = "mean share above a fifth of an equal one, and not always the same"
        said = f"Mean share of each component over {over}: {num} of {size} are in use ({rule}), as many as "
        said += f"{found.effective:.1f} used alike."
    else:
        said = (
            f"Standard deviation of each component over {over}: {num} of {size} are active (variance above 0.01)."
        )

    def draw(axes: Any) -> None:
        _draw_bars(axes, found)

    arrays = {"means": found.means, "spread": found.spread, "is_in_use": found.is_in_use}
    if found.effective is not None:
        arrays["effective"] = torch.tensor(found.effective, dtype=torch.float64)
    inches = (max(4.0, min(9.0, 0.16 * size)), 2.4)
    return Chart(arrays, said, draw_chart("usage", draw, inches=inches), draw, inches)


def barycentric_chart(explored: Explored, *, components: Sequence[int] | None) -> Chart:
    """Each example as a point between up to six components."""
    chosen = chosen_components(explored, components, MOST_CORNERS)
    if not 3 <= len(chosen) <= MOST_CORNERS:
        raise ExplorationError(
            f"a map between components has 3 to {MOST_CORNERS} corners, but there are {len(chosen)}. Name as many."
        )
    shares = vectors(explored.latents)
    points, total = barycentric(shares, chosen)
    svg = draw_simplex(shares, components=chosen)
    assert svg is not None

    def draw(axes: Any) -> None:
        _draw_points(axes, points, shares[:, chosen], chosen)

    named = ", ".join(map(str, chosen))
    mean = ", mean over its cells," if explored.latents.ndim > 2 else ""
    said = (
        f"{len(explored.keys):,} examples between components {named}: each{mean} stands at the mean of the corners "
    )
    said += f"weighted by its shares of them, which have {float(total.mean()):.0%} of an example in the mean."
    return Chart(
        {"points": points, "total": total, "components": torch.tensor(chosen)}, said, svg, draw, (4.4, 4.2)
    )


def _draw_bars(axes: Any, found: Usage) -> None:
    is_share = found.effective is not None
    heights = (found.means if is_share else found.spread).tolist()
    colours = [COMPONENT_COLOURS[0] if used else OTHERS for used in found.is_in_use.tolist()]
    axes.bar(range(len(heights)), heights, color=colours, width=0.8)
    if is_share:
        axes.axhline(1 / len(heights), color=INK, lw=0.8, ls=":")
    axes.set_xlabel("component")
    axes.set_ylabel("mean share" if is_share else "standard deviation")
    axes.set_xlim(-0.7, len(heights) - 0.3)
    axes.xaxis.get_major_locator().set_params(integer=True)


def _draw_points(axes: Any, points: Tensor, shares: Tensor, chosen: Sequence[int]) -> None:
    corners = polygon_corners(len(chosen))
    outline = torch.cat([corners, corners[:1]])
    axes.plot(outline[:, 0], outline[:, 1], color=INK, alpha=0.35, lw=0.8)
    largest = [COMPONENT_COLOURS[place] for place in shares.argmax(1).tolist()]
    axes.scatter(points[:, 0], points[:, 1], c=largest, s=12, alpha=0.8, linewidths=0)
    for number, (x, y), colour in zip(chosen, corners.tolist(), COMPONENT_COLOURS, strict=False):
        axes.text(1.14 * x, 1.14 * y, str(number), color=colour, ha="center", va="center", weight="bold")
    axes.set_xlim(-1.25, 1.25)
    axes.set_ylim(1.25, -1.25)
    axes.set_aspect("equal")
    axes.set_axis_off()
