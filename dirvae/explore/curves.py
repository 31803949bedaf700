"""Curves of a run as inline SVG that takes the page's text colour, so that it reads on light and on dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Curve", "Panel", "draw_panel", "run_panels"]

MAX_POINTS = 500
_INK = "#010203"  # stands for the page's text colour until the SVG is written
_COLOURS = ("#3b82c4", "#dd8a2e", "#3fa37a")


@dataclass(frozen=True)
class Curve:
    """A named line of values over steps; a dashed one is for comparison."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    is_dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """A title and the curves below it."""

    title: str
    curves: Sequence[Curve]


def run_panels(metrics: Sequence[dict[str, Any]], *, noun: str = "image") -> list[Panel]:
    """The numbers of a metrics file over time; panels without any point are left out. `noun` is that of an example."""

    def one(kind: str, key: str, name: str, *, times: int = 1, is_dashed: bool = False) -> Curve:
        points = [(line["step"], times * line[key]) for line in metrics if line["kind"] == kind and _has(line, key)]
        points = points[:: -(-len(points) // MAX_POINTS) or 1]
        return Curve(name, [step for step, _ in points], [value for _, value in points], is_dashed)

    goal = "objective" if any("objective" in line for line in metrics) else "bound"
    panels = [
        Panel(
            "Loss, nats per example",
            [one("train", "loss", "training"), one("held_out", goal, "held out", times=-1)],
        ),
        Panel("KL, nats per example", [one("train", "kl", "training"), one("held_out", "kl", "held out")]),
        Panel("Weight of the KL term", [one("train", "kl_weight", "weight")]),
        Panel(
            "Held-out PSNR, dB",
            [
                one("held_out", "psnr_db", "reconstruction"),
                one("held_out", f"mean_{noun}_psnr_db", f"mean {noun}", is_dashed=True),
            ],
        ),
        Panel("Held-out motion reproduced, %", [one("held_out", "motion_explained", "held out", times=100)]),
        Panel("Examples per second", [one("train", "examples_per_second", "training")]),
        Panel("Time spent waiting for data, %", [one("train", "wait_share", "training", times=100)]),
    ]
    filled = [Panel(panel.title, [curve for curve in panel.curves if curve.values]) for panel in panels]
    return [panel for panel in filled if panel.curves]


def draw_panel(panel: Panel) -> str:
    """A panel as an `<svg>` element; its text is text, in the font and colour of the page around it."""
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {"svg.fonttype": "none", "svg.hashsalt": panel.title, "font.size": 9, "font.family": "sans-serif"}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(3.6, 2.1), layout="constrained")
        axes = figure.add_subplot()
        for curve, colour in zip(panel.curves, _COLOURS, strict=False):
            marker = "o" if len(curve.steps) < 12 else None
            line = "--" if curve.is_dashed else "-"
            axes.plot(
                curve.steps, curve.values, line, color=colour, marker=marker, markersize=3, lw=1.6, label=curve.name
            )
        low, high = _shown_range([value for curve in panel.curves for value in curve.values])
        axes.set_ylim(low, high)
        axes.set_xlabel("step", color=_INK)
        axes.tick_params(colors=_INK, length=3)
        axes.grid(color=_INK, alpha=0.12, lw=0.6)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(_INK)
        if len(panel.curves) > 1:
            axes.legend(frameon=False, labelcolor=_INK)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue())


def _has(line: dict[str, Any], key: str) -> bool:
    return isinstance(line.get(key), int | float)


def _shown_range(values: Sequence[float]) -> tuple[float, float]:
    """Limits that show most of a curve: its highest values, usually those of the first steps, may be outside."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[min(len(ordered) - 1, int(0.97 * len(ordered)))]
    room = 0.06 * (high - low) or 0.5 * abs(high) or 0.5
    return low - room, high + room


def _inline(svg: str) -> str:
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    return element.replace(_INK, "currentColor").strip()
