"""A map of examples: their latents in the plane in which they differ most, as points of an inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor

from dirvae.drawing.colouring import Colouring, by_component, by_label
from dirvae.evaluate.labels import Label

__all__ = ["ExampleMap", "draw_map", "log_ratios", "map_of", "principal_plane"]

MOST_POINTS = 500
WIDTH, HEIGHT = 640, 420
MARGIN, LABEL = 18, 26
"""Space around the points, and for the names of the axes."""
NAMES = ("first", "second")
SMALLEST_SHARE = 0.01
"""As a part of an equal share. Smaller shares count as this one, so that unused components do not decide the plane."""


@dataclass(frozen=True)
class ExampleMap:
    """The `<svg>` element, and the shares of the variance that its two axes show."""

    svg: str
    variances: tuple[float, float]


def map_of(latents: Tensor, keys: Sequence[str], label: Label | None, *, are_shares: bool) -> dict[str, Any] | None:
    """The map of latents (num, component) for the page, and what its colours mean; None if `draw_map` draws none.

    Without a label, shares are coloured by the largest of them.
    """
    colouring = by_component(latents) if are_shares else None
    if label is not None:
        colouring = by_label(label)
    found = draw_map(latents, colouring, keys=keys, are_shares=are_shares)
    if found is None:
        return None
    return {"svg": found.svg, "colouring": colouring, "has_label": label is not None}


def log_ratios(shares: Tensor) -> Tensor:
    """Centred log-ratios of shares (num, component): each row's logarithms minus their mean (Aitchison 1986), float64.

    Shares below a hundredth of an equal share count as that.
    """
    logs = shares.double().clamp(min=SMALLEST_SHARE / shares.shape[1]).log()
    return logs - logs.mean(1, keepdim=True)


def principal_plane(values: Tensor) -> tuple[Tensor, tuple[float, float]]:
    """The first two principal components of (num, column): (num, 2) float64, and their shares of the variance.

    The largest weight of each is made positive, so that the same values always give the same picture.
    """
    centered = values.double() - values.double().mean(0)
    _, strengths, axes = torch.linalg.svd(centered, full_matrices=False)
    axes = axes[:2]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    axes = torch.where(largest < 0, -axes, axes)
    variances = strengths.square() / strengths.square().sum().clamp(min=1e-300)
    return centered @ axes.T, (float(variances[0]), float(variances[1]))


def draw_map(
    latents: Tensor, colouring: Colouring | None, *, keys: Sequence[str], are_shares: bool
) -> ExampleMap | None:
    """Latents (num, component) as points, by the principal components of them or, for shares, of their log-ratios.

    None for fewer than three examples or two components, and for latents that are all alike or not finite. Of more than
    500 examples an even selection is drawn. The title of a point is its key, and its value in words.
    """
    if len(latents) < 3 or latents.shape[1] < 2 or not latents.isfinite().all():
        return None
    points, variances = principal_plane(log_ratios(latents) if are_shares else latents)
    if sum(variances) == 0:
        return None
    step = -(-len(points) // MOST_POINTS)
    order = sorted(
        range(0, len(points), step), key=lambda number: colouring is not None and colouring.is_above[number]
    )
    places = _placed(points)
    circles = [_circle(places[number], number, keys[number], colouring) for number in order]
    names = [
        f"{name} axis, {100 * share:.0f} % of the variance" for name, share in zip(NAMES, variances, strict=True)
    ]
    middle = (LABEL + WIDTH) / 2, (HEIGHT - LABEL) / 2
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" xmlns="http://www.w3.org/2000/svg" font-size="12" font-family="inherit">',
        f'<rect x="{LABEL}" y="1" width="{WIDTH - LABEL - 1}" height="{HEIGHT - LABEL - 1}" rx="6" fill="none" '
        'stroke="currentColor" stroke-opacity="0.18"/>',
        '<g fill="currentColor" fill-opacity="0.72" text-anchor="middle">',
        f'<text x="{middle[0]:.0f}" y="{HEIGHT - 7}">{names[0]}</text>',
        f'<text transform="translate(15 {middle[1]:.0f}) rotate(-90)">{names[1]}</text>',
        "</g>",
        *circles,
        "</svg>",
    ]
    return ExampleMap("".join(parts), variances)


def _placed(points: Tensor) -> list[tuple[float, float]]:
    """Positions of the points in the picture; both axes have the same scale."""
    low, high = points.min(0).values, points.max(0).values
    room = torch.tensor([WIDTH - LABEL, HEIGHT - LABEL], dtype=torch.float64) - 2 * MARGIN
    scale = float((room / (high - low).clamp(min=1e-12)).min())
    center = torch.tensor([(WIDTH + LABEL) / 2, (HEIGHT - LABEL) / 2], dtype=torch.float64)
    away = (points - (low + high) / 2) * scale
    found = center + away * torch.tensor([1.0, -1.0], dtype=torch.float64)
    return [(x, y) for x, y in found.tolist()]


def _circle(place: tuple[float, float], number: int, key: str, colouring: Colouring | None) -> str:
    words = None if colouring is None else colouring.words[number]
    title = escape(key if words is None else f"{key} · {words}")
    colour = "var(--accent)" if colouring is None else colouring.colours[number]
    x, y = place
    radius = 5 if colouring is not None and colouring.is_above[number] else 4.2
    shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}">'
    return f"{shape}<title>{title}</title></circle>"
