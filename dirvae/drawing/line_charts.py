"""Line charts over steps as inline SVG, without matplotlib: a chart takes a millisecond, for live pages."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

__all__ = ["draw_lines_over_steps", "round_ticks"]

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 24, 36
"""Margins around the curves; the names of the curves stand in the top one."""
FONT = 11


def draw_lines_over_steps(
    title: str,
    lines: Sequence[tuple[str, Sequence[float], Sequence[float], bool]],
    colours: Sequence[str],
    *,
    axis: str = "step",
    has_legend: bool = True,
) -> str:
    """Lines (name, steps, values, is dashed) as an `<svg>` element in the text colour of the page around it.

    `axis` is the name of the horizontal axis, such as "seconds". A few of the highest values, usually of the first
    steps, may be outside. `title` must differ between the charts of a page.
    """
    horizontal = _span([step for _, steps, _, _ in lines for step in steps])
    vertical = _shown_range([value for _, _, values, _ in lines for value in values])
    area = f"clip-{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}"
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" xmlns="http://www.w3.org/2000/svg" font-size="{FONT}" '
        'font-family="inherit">',
        f'<clipPath id="{area}"><rect x="{LEFT}" y="{TOP - 2}" width="{WIDTH - LEFT - RIGHT + 4}" '
        f'height="{HEIGHT - TOP - BOTTOM + 4}"/></clipPath>',
        '<g fill="currentColor" stroke="none" opacity="0.8">',
        *_labels(horizontal, vertical, axis),
        "</g>",
        *_grid(horizontal, vertical),
        f'<g clip-path="url(#{area})" fill="none" stroke-width="1.7" stroke-linejoin="round">',
    ]
    for (_, steps, values, is_dashed), colour in zip(lines, colours, strict=False):
        points = [
            (_across(step, horizontal), _up(value, vertical)) for step, value in zip(steps, values, strict=True)
        ]
        dashes = ' stroke-dasharray="5 3"' if is_dashed else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" stroke="{colour}"{dashes}/>')
        if len(points) < 12:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4" fill="{colour}"/>' for x, y in points]
    parts.append("</g>")
    if len(lines) > 1 and has_legend:
        parts += _legend([(name, is_dashed) for name, _, _, is_dashed in lines], colours)
    return "".join([*parts, "</svg>"])


def round_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Up to `most` + 1 round numbers from `low` < `high`, evenly spaced."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _labels(horizontal: tuple[float, float], vertical: tuple[float, float], axis: str) -> list[str]:
    base = HEIGHT - BOTTOM
    found = [
        f'<text x="{_across(tick, horizontal):.1f}" y="{base + 15}" text-anchor="middle">{_short(tick)}</text>'
        for tick in round_ticks(*horizontal)
    ]
    found += [
        f'<text x="{LEFT - 6}" y="{_up(tick, vertical) + 4:.1f}" text-anchor="end">{_short(tick)}</text>'
        for tick in round_ticks(*vertical)
    ]
    return [
        *found,
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">{escape(axis)}</text>',
    ]


def _grid(horizontal: tuple[float, float], vertical: tuple[float, float]) -> list[str]:
    right, base = WIDTH - RIGHT, HEIGHT - BOTTOM
    rows = "".join(f"M{LEFT} {_up(tick, vertical):.1f}H{right}" for tick in round_ticks(*vertical))
    columns = "".join(f"M{_across(tick, horizontal):.1f} {TOP}V{base}" for tick in round_ticks(*horizontal))
    return [
        f'<path d="{rows}{columns}" stroke="currentColor" opacity="0.12" stroke-width="0.7" fill="none"/>',
        f'<path d="M{LEFT} {TOP}V{base}H{right}" stroke="currentColor" opacity="0.5" fill="none"/>',
    ]


def _legend(names: Sequence[tuple[str, bool]], colours: Sequence[str]) -> list[str]:
    found, x = [], float(LEFT)
    for (name, is_dashed), colour in zip(names, colours, strict=False):
        dashes = ' stroke-dasharray="5 3"' if is_dashed else ""
        found.append(f'<path d="M{x:.1f} {TOP - 14}h18" stroke="{colour}" stroke-width="2"{dashes}/>')
        found.append(f'<text x="{x + 23:.1f}" y="{TOP - 10}" fill="currentColor">{escape(name)}</text>')
        x += 23 + 6.2 * len(name) + 18
    return found


def _across(step: float, span: tuple[float, float]) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (step - span[0]) / (span[1] - span[0])


def _up(value: float, span: tuple[float, float]) -> float:
    base = HEIGHT - BOTTOM
    return base - (base - TOP) * min(max((value - span[0]) / (span[1] - span[0]), -1), 2)


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _shown_range(values: Sequence[float]) -> tuple[float, float]:
    """Limits that show most of a curve; the highest 3 % of the values may be outside."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[min(len(ordered) - 1, int(0.97 * len(ordered)))]
    room = 0.06 * (high - low) or 0.5 * abs(high) or 0.5
    return low - room, high + room


def _short(value: float) -> str:
    """A tick as text: 1,500 as 1,500, but 20,000 as 20k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size or (size > 1e3 and abs(value) >= size):
            return f"{value / size:g}{letter}".replace("-", "−")
    if 0 < abs(value) < 1e-2:
        digits, power = f"{value:e}".split("e")
        return f"{float(digits):g}e{int(power)}".replace("-", "−")
    return f"{round(value, 12):,.6g}".replace("-", "−")
