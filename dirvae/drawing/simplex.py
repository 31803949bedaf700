"""Pictures of latents on the simplex: shares of one example as a bar, of many examples as points in a polygon."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dirvae.drawing.charts import COMPONENT_COLOURS, OTHERS

__all__ = ["MOST_CORNERS", "coloured_components", "draw_simplex", "polygon_corners", "share_bars"]

MOST_CORNERS = 6
MOST_POINTS = 400
RADIUS = 120.0
TILE = 46
"""Side of the picture at a corner."""


def coloured_components(shares: Tensor, num: int | None = None) -> list[int]:
    """The components of (row, component) that get their own colours: those with the largest means, in order."""
    most = min(len(COMPONENT_COLOURS) if num is None else num, shares.shape[1])
    found: list[int] = shares.mean(0).argsort(descending=True)[:most].tolist()
    return found


def share_bars(shares: Tensor, order: Sequence[int]) -> list[list[dict[str, Any]]]:
    """For each row of (row, component) its segments: component, share in percent, colour; the last is all others.

    `order` has the coloured components, in the order of the colours.
    """
    bars = []
    for row in shares.double().tolist():
        own = [
            {"number": number, "percent": 100 * row[number], "colour": colour}
            for number, colour in zip(order, COMPONENT_COLOURS, strict=False)
        ]
        others = max(0.0, 100 - sum(segment["percent"] for segment in own))
        bars.append([*own, {"number": None, "percent": others, "colour": OTHERS}])
    return bars


def polygon_corners(num: int) -> Tensor:
    """Corners of a regular polygon around (0, 0), the first at the top, then clockwise: (num, 2), y downwards."""
    angles = 2 * math.pi * torch.arange(num, dtype=torch.float64) / num - math.pi / 2
    return torch.stack([angles.cos(), angles.sin()], 1)


def draw_simplex(
    shares: Tensor,
    *,
    uris: Mapping[int, str] | None = None,
    colours: Sequence[str] | None = None,
    components: Sequence[int] | None = None,
) -> str | None:
    """Rows of (row, component) as points of an `<svg>` element; None for fewer than three components.

    The corners are `components`, or else those with the largest means, at most six. A point is the mean of the corners
    weighted by its shares of them. Shares of other components only make it paler. With three components this is the
    simplex itself. A point has the colour of its largest share among the corners, or its colour in `colours`, one per
    row. `uris` are pictures of components, by number.
    """
    order = coloured_components(shares, MOST_CORNERS) if components is None else list(components)[:MOST_CORNERS]
    if len(order) < 3:
        return None
    corners = polygon_corners(len(order)) * RADIUS
    step = -(-len(shares) // MOST_POINTS) or 1
    rows = shares[::step].double().cpu()[:, order]
    total = rows.sum(1, keepdim=True)
    largest = [COMPONENT_COLOURS[place] for place in rows.argmax(1).tolist()]
    fills = largest if colours is None else colours[::step]
    points = rows / total.clamp(min=1e-12) @ corners
    edge = RADIUS + TILE + 26
    outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners.tolist())
    parts = [
        f'<svg viewBox="{-edge} {-edge} {2 * edge} {2 * edge}" xmlns="http://www.w3.org/2000/svg" font-size="11" '
        'font-family="inherit">',
        f'<polygon points="{outline}" fill="currentColor" fill-opacity="0.03" stroke="currentColor" '
        'stroke-opacity="0.35"/>',
        *(f'<path d="M0 0L{x:.1f} {y:.1f}" stroke="currentColor" opacity="0.1"/>' for x, y in corners.tolist()),
    ]
    parts += [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="{fill}" fill-opacity="{0.45 + 0.5 * min(share, 1):.2f}"/>'
        for (x, y), fill, share in zip(points.tolist(), fills, total.squeeze(1).tolist(), strict=True)
    ]
    outside = corners * (1 + (TILE / 2 + 8) / RADIUS)
    for number, (x, y), colour in zip(order, outside.tolist(), COMPONENT_COLOURS, strict=False):
        parts += _corner(number, x, y, colour, None if uris is None else uris.get(number))
    return "".join([*parts, "</svg>"])


def _corner(number: int, x: float, y: float, colour: str, uri: str | None) -> list[str]:
    half = TILE / 2
    label = y + half + 13 if y > 0 else y - half - 5
    if uri is None:
        return [
            f'<circle cx="{x:.1f}" cy="{y - 4:.1f}" r="4" fill="{colour}"/>',
            f'<text x="{x:.1f}" y="{y + 12:.1f}" text-anchor="middle" fill="currentColor">{number}</text>',
        ]
    return [
        f'<image href="{uri}" x="{x - half:.1f}" y="{y - half:.1f}" width="{TILE}" height="{TILE}"/>',
        f'<rect x="{x - half:.1f}" y="{y - half:.1f}" width="{TILE}" height="{TILE}" fill="none" stroke="{colour}" '
        'stroke-width="2.5" rx="3"/>',
        f'<text x="{x:.1f}" y="{label:.1f}" text-anchor="middle" fill="currentColor">{number}</text>',
    ]
