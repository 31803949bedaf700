"""Curves of a run: its metrics over the steps, as panels of lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dirvae.drawing.charts import COLOURS
from dirvae.drawing.line_charts import draw_lines_over_steps

__all__ = ["Curve", "Panel", "draw_panel", "filled_panels", "metric_curve", "run_panels", "speed_panels"]

MAX_POINTS = 500

Metrics = Sequence[dict[str, Any]]


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


def run_panels(metrics: Metrics, *, noun: str = "image") -> list[Panel]:
    """The numbers of a metrics file of images or clips over time. `noun` is the word for an example."""
    goal = "objective" if any("objective" in line for line in metrics) else "bound"
    mean = metric_curve(metrics, "held_out", f"mean_{noun}_psnr_db", f"mean {noun}", is_dashed=True)
    return filled_panels(
        Panel(
            "Loss, nats per example",
            [
                metric_curve(metrics, "train", "loss", "training"),
                metric_curve(metrics, "held_out", goal, "held out", times=-1),
            ],
        ),
        Panel(
            "KL, nats per example",
            [metric_curve(metrics, "train", "kl", "training"), metric_curve(metrics, "held_out", "kl", "held out")],
        ),
        Panel(
            "Held-out KL by level, nats per example",
            [
                metric_curve(metrics, "held_out", "kl_global", "global latent"),
                metric_curve(metrics, "held_out", "kl_map", "map"),
            ],
        ),
        Panel("Weight of the KL term", [metric_curve(metrics, "train", "kl_weight", "weight")]),
        Panel(
            "Held-out PSNR, dB",
            [
                metric_curve(metrics, "held_out", "psnr_db", "reconstruction"),
                metric_curve(metrics, "held_out", "global_psnr_db", "global latent alone"),
                mean,
            ],
        ),
        Panel(
            "Held-out motion reproduced, %",
            [metric_curve(metrics, "held_out", "motion_explained", "held out", times=100)],
        ),
        *speed_panels(metrics),
    )


def speed_panels(metrics: Metrics) -> list[Panel]:
    """Panels of learning rate, gradient norm, speed and waiting time."""
    return [
        Panel("Learning rate", [metric_curve(metrics, "train", "learning_rate", "training")]),
        Panel("Gradient norm before clipping", [metric_curve(metrics, "train", "gradient_norm", "training")]),
        Panel("Examples per second", [metric_curve(metrics, "train", "examples_per_second", "training")]),
        Panel(
            "Time spent waiting for data, %", [metric_curve(metrics, "train", "wait_share", "training", times=100)]
        ),
    ]


def metric_curve(
    metrics: Metrics, kind: str, key: str, name: str, *, times: int = 1, is_dashed: bool = False
) -> Curve:
    """The values called `key` in the lines of a kind, each multiplied by `times`; at most 500 of them."""
    points = [(line["step"], times * line[key]) for line in metrics if line["kind"] == kind and _has(line, key)]
    points = points[:: -(-len(points) // MAX_POINTS) or 1]
    return Curve(name, [step for step, _ in points], [value for _, value in points], is_dashed)


def filled_panels(*panels: Panel) -> list[Panel]:
    """The panels without empty curves, and without panels that have no other curves."""
    filled = [Panel(panel.title, [curve for curve in panel.curves if curve.values]) for panel in panels]
    return [panel for panel in filled if panel.curves]


def draw_panel(panel: Panel) -> str:
    """A panel as an `<svg>` element."""
    lines = [(curve.name, curve.steps, curve.values, curve.is_dashed) for curve in panel.curves]
    return draw_lines_over_steps(panel.title, lines, COLOURS)


def _has(line: dict[str, Any], key: str) -> bool:
    return isinstance(line.get(key), int | float)
