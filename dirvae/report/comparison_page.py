"""`comparison.html`: several runs of one type on one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dirvae.drawing.charts import COMPONENT_COLOURS
from dirvae.drawing.curves import MAX_POINTS
from dirvae.drawing.line_charts import draw_lines_over_steps
from dirvae.report.comparison import Comparison
from dirvae.report.page import render_page
from pipelines.storage.durable_files import write_durably

__all__ = ["ComparedRun", "Curves", "run_curves", "seconds_of_steps", "write_comparison_page"]

CURVES = {
    "Training loss": ("train", "loss"),
    "Held-out bound": ("held_out", "bound"),
    "Held-out objective": ("held_out", "objective"),
    "Held-out PSNR, dB": ("held_out", "psnr_db"),
    "Held-out KL, nats per example": ("held_out", "kl"),
    "Held-out loudness error, dB": ("held_out", "loudness_error_db"),
}
"""Title → kind of line, and number in it."""
BEST = {
    **dict.fromkeys(("bound", "objective", "psnr_db", "global_psnr_db", "psnr_gain_db", "motion_explained"), max),
    **dict.fromkeys(("reconstruction", "loudness_error_db", "pitch_error_semitones", "pitch_lost"), min),
}
"""Name of a number → the function that chooses its best value."""
NATS = frozenset({"bound", "objective", "reconstruction"})
SCALES = ("size", "channels", "clip_frames", "clip_seconds", "sample_rate", "likelihood", "fixed_scale")
"""Settings that must be the same for numbers in nats, or spectral losses, to be compared."""

Curves = dict[str, tuple[list[float], list[float], list[float]]]


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """One run: its name on the page, its settings and numbers by name, its metrics, and its examples.

    `comparison` is None if its data could not be opened; `note` then gives the reason.
    """

    name: str
    step: int
    settings: Mapping[str, Any]
    numbers: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    comparison: Comparison | None
    note: str | None = None


def write_comparison_page(
    path: Path, runs: Sequence[ComparedRun], keys: Sequence[str], *, noun: str, notes: Sequence[str] = ()
) -> Path:
    """Write the page of runs, whole or not at all; returns its path. Raises `OSError`.

    `keys` has the keys of the examples of each comparison, in the same order; `noun` is the word for an example.
    """
    from markupsafe import Markup

    colours = [COMPONENT_COLOURS[place % len(COMPONENT_COLOURS)] for place in range(len(runs))]
    page = render_page(
        "comparison.html",
        runs=[
            {"name": run.name, "step": run.step, "colour": colour}
            for run, colour in zip(runs, colours, strict=True)
        ],
        noun=noun,
        notes=[*notes, *(run.note for run in runs if run.note is not None)],
        curves=[{"title": title, "svg": Markup(svg)} for title, svg in _charts(runs, colours)],
        settings=_differing([run.settings for run in runs]),
        numbers=_numbers(runs),
        examples=_examples(runs, keys),
        uses=[
            {"name": run.name, "svg": Markup(_draw_use(run.comparison.use, colour)), "num": len(run.comparison.use)}
            for run, colour in zip(runs, colours, strict=True)
            if run.comparison is not None and run.comparison.use is not None
        ],
    )
    write_durably(path, page)
    return path


def seconds_of_steps(metrics: Sequence[Mapping[str, Any]], batch_size: int) -> dict[int, float]:
    """Step → seconds of training up to it, from the speeds in the lines of a metrics file; 0 → 0."""
    found, before, seconds = {0: 0.0}, 0, 0.0
    for line in metrics:
        speed = line.get("examples_per_second")
        if line.get("kind") == "train" and isinstance(speed, int | float) and speed > 0 and line["step"] > before:
            seconds += (line["step"] - before) * batch_size / speed
            before = line["step"]
            found[before] = seconds
    return found


def run_curves(run: ComparedRun) -> Curves:
    """Title → steps, seconds and values of a run's curve, at most 500 points; curves without a point are left out."""
    times = seconds_of_steps(run.metrics, int(run.settings.get("batch_size") or 1))
    found: Curves = {}
    for title, (kind, key) in CURVES.items():
        lines = [line for line in run.metrics if line.get("kind") == kind and _is_number(line.get(key))]
        lines = lines[:: -(-len(lines) // MAX_POINTS) or 1]
        if lines:
            steps = [float(line["step"]) for line in lines]
            found[title] = (steps, [_at(times, step) for step in steps], [float(line[key]) for line in lines])
    return found


def _at(times: Mapping[int, float], step: float) -> float:
    """The seconds at a step, interpolated between the neighbouring steps; after the last known step, its seconds."""
    below = max(known for known in times if known <= step)
    above = min((known for known in times if known >= step), default=below)
    share = (step - below) / (above - below) if above > below else 0.0
    return times[below] + share * (times[above] - times[below])


def _charts(runs: Sequence[ComparedRun], colours: Sequence[str]) -> list[tuple[str, str]]:
    """Titles and charts: each curve over steps, and beside it over seconds."""
    all_curves = [run_curves(run) for run in runs]
    found = []
    for title in CURVES:
        shown = [
            (run, curves[title], colour)
            for run, curves, colour in zip(runs, all_curves, colours, strict=True)
            if title in curves
        ]
        for place, axis in enumerate(("step", "seconds of training")):
            lines = [(run.name, curve[place], curve[2], False) for run, curve, _ in shown]
            if lines:
                name = f"{title}, by {axis}"
                svg = draw_lines_over_steps(
                    name, lines, [colour for _, _, colour in shown], axis=axis, has_legend=False
                )
                found.append((name, svg))
    return found


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The settings whose values differ, with the value of each run."""
    names = dict.fromkeys(name for one in settings for name in one)
    rows = [{"name": name, "values": [one.get(name) for one in settings]} for name in names]
    return [row for row in rows if any(value != row["values"][0] for value in row["values"][1:])]


def _numbers(runs: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    """The numbers of all runs by name. The best is marked if the runs can be compared."""
    one_scale = all(run.settings.get(name) == runs[0].settings.get(name) for run in runs for name in SCALES)
    names = dict.fromkeys(name for run in runs for name, value in run.numbers.items() if _is_number(value))
    rows = []
    for name in names:
        values = [run.numbers.get(name) for run in runs]
        known = [float(value) for value in values if value is not None and _is_number(value)]
        choose = BEST.get(name) if one_scale or name not in NATS else None
        best = None if choose is None or len(known) < 2 or len(set(known)) == 1 else choose(known)
        rows.append({"name": name, "cells": [(value, best is not None and value == best) for value in values]})
    return rows


def _examples(runs: Sequence[ComparedRun], keys: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each example: the original, and its reconstruction by each run."""
    if not keys:
        return []
    shown = [run.comparison for run in runs if run.comparison is not None]
    names = [run.name for run in runs if run.comparison is not None]
    return [
        {
            "key": key,
            "original": shown[0].examples[place],
            "made": [
                {"run": name, "example": comparison.examples[place]}
                for name, comparison in zip(names, shown, strict=True)
            ],
        }
        for place, key in enumerate(keys)
    ]


def _draw_use(use: Tensor, colour: str) -> str:
    """Bars of how much each component is used, the most used first, as an `<svg>` element."""
    heights = (100 * use / use.max().clamp(min=1e-9)).tolist()
    width = 360 / len(heights)
    bars = "".join(
        f'<rect x="{place * width:.2f}" y="{100 - height:.2f}" width="{0.82 * width:.2f}" height="{height:.2f}"/>'
        for place, height in enumerate(heights)
    )
    return (
        '<svg viewBox="0 0 360 101" xmlns="http://www.w3.org/2000/svg">'
        f'<g fill="{colour}">{bars}</g><path d="M0 100.5H360" stroke="currentColor" opacity="0.4"/></svg>'
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
