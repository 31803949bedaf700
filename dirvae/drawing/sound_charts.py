"""Charts of one clip over time: pitch, loudness and latent, and of one timbre: its harmonics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dirvae.drawing.charts import COLOURS, COMPONENT_COLOURS, INK, OTHERS, draw_chart, time_axis

__all__ = ["OTHERS", "TIMBRES", "draw_harmonics", "draw_lines", "draw_shares"]

TIMBRES = COMPONENT_COLOURS
"""Colours of timbres, in the order of their use."""
MAX_POINTS = 250
LEVELS_DB = 50.0
HARMONICS = 40
HARMONICS_DB = 60.0
PLACE = (0.11, 0.19, 0.86, 0.76)
"""The place of the axes in charts over time; see `draw_chart`."""


def draw_lines(name: str, curves: dict[str, Tensor], rate: float, *, has_log_axis: bool = False) -> str:
    """Curves (row,) over time, by name, at `rate` rows per second; the second one is dashed. NaN leaves a gap."""
    seconds = max(len(curve) for curve in curves.values()) / rate

    def draw(axes: Any) -> None:
        found = np.concatenate([curve.numpy() for curve in curves.values()])
        for (label, curve), colour, line in zip(curves.items(), COLOURS, ("-", "--"), strict=False):
            axes.plot(*_points(curve[None], rate, row=0), line, color=colour, lw=1.6, label=label)
        time_axis(axes, seconds)
        (_log_axis if has_log_axis else _level_axis)(axes, found[np.isfinite(found)])
        axes.legend(frameon=False, labelcolor=INK)

    return draw_chart(name, draw, place=PLACE)


def draw_shares(name: str, latent: Tensor, order: Sequence[int], rate: float, *, are_shares: bool) -> str:
    """A latent (component, row) over time: stacked shares, or a line for each component.

    `order` has the coloured components, in the order of the colours.
    """
    seconds, values = _points(latent, rate)
    own = values[list(order)]

    def draw(axes: Any) -> None:
        time_axis(axes, latent.shape[1] / rate)
        if not are_shares:
            for row, colour in zip(own, TIMBRES, strict=False):
                axes.plot(seconds, row, color=colour, lw=1.4)
            return
        rows = np.concatenate((own, np.clip(1 - own.sum(0, keepdims=True), 0, None)))
        axes.stackplot(seconds, rows, colors=[*TIMBRES[: len(own)], OTHERS], lw=0)
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])

    return draw_chart(name, draw, place=PLACE, has_grid=not are_shares)


def draw_harmonics(name: str, amplitudes: Tensor, colour: str) -> str:
    """Amplitudes (harmonic,) as bars in dB below the strongest; the first 40 of them."""
    shown = amplitudes[:HARMONICS].double().nan_to_num(0.0)
    levels = 20 * (shown / shown.max().clamp(min=1e-12)).clamp(min=1e-12).log10().numpy()

    def draw(axes: Any) -> None:
        heights = np.maximum(levels + HARMONICS_DB, 0)
        axes.bar(np.arange(1, len(heights) + 1), heights, 0.72, bottom=-HARMONICS_DB, color=colour)
        axes.set_ylim(-HARMONICS_DB, 0)
        axes.set_xlim(0.2, len(heights) + 0.8)
        axes.set_yticks([-60, -40, -20, 0], ["−60", "−40", "−20", "0"])
        axes.set_xticks([place for place in (1, 10, 20, 30, 40) if place <= len(heights)])
        axes.set(xlabel="harmonic", ylabel="dB")

    return draw_chart(name, draw, inches=(2.7, 1.5), place=(0.21, 0.28, 0.77, 0.66))


def _points(curves: Tensor, rate: float, row: int | slice = slice(None)) -> tuple[NDArray[Any], NDArray[Any]]:
    """Seconds and values of up to 250 rows of curves (curve, row)."""
    step = -(-curves.shape[1] // MAX_POINTS)
    values = curves[row, ::step].numpy()
    return np.arange(values.shape[-1]) * (step / rate), values


def _level_axis(axes: Any, levels: NDArray[Any]) -> None:
    """Show the levels down to 50 dB below the highest one."""
    low, high = (float(levels.min()), float(levels.max())) if len(levels) else (-80.0, 0.0)
    low = max(low, high - LEVELS_DB)
    room = max(0.06 * (high - low), 1.0)
    axes.set_ylim(low - room, high + room)


def _log_axis(axes: Any, hz: NDArray[Any]) -> None:
    """Show at least an octave, with ticks at round numbers."""
    low, high = (float(hz.min()), float(hz.max())) if len(hz) else (100.0, 200.0)
    room = max(1.06, (2 * low / high) ** 0.5)
    low, high = low / room, high * room
    steps = (1, 2, 3, 4, 5, 6, 8) if high < 3 * low else (1, 2, 5)
    ticks = [step * 10**power for power in (1, 2, 3) for step in steps if low <= step * 10**power <= high]
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.set_yticks(ticks, [f"{hz:,}" for hz in ticks])
    axes.minorticks_off()
