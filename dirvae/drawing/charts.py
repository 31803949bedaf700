"""Charts as inline SVG that takes the page's text colour, so that it reads on light and on dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from PIL import Image

from pipelines.show_batch.style import PAPER

__all__ = ["COLOURS", "COMPONENT_COLOURS", "INK", "OTHERS", "chart_picture", "draw_chart", "time_axis"]

INK = "#010203"
"""Placeholder for the page's text colour; replaced when the SVG is written."""

COLOURS = ("#3b82c4", "#dd8a2e", "#3fa37a")
"""Colours of lines, in order; each has enough contrast on white and on near black."""

COMPONENT_COLOURS = (
    *("#4c8cc9", "#e09a45", "#4fae8b", "#c9615a", "#8e79c4", "#b5a642"),
    *("#5fb3c4", "#c77fb0", "#8a6d5a", "#7a9c4a", "#5a6ea8", "#d0896a"),
)
"""Colours of components, in the order of their use."""

OTHERS = "#9aa1ab"
"""The colour of all other components."""

FONT: Any = {"font.size": 9, "font.family": "sans-serif"}
DOTS_PER_INCH = 180


def draw_chart(
    name: str,
    draw: Callable[[Any], None],
    *,
    inches: tuple[float, float] = (3.6, 2.1),
    place: tuple[float, float, float, float] | None = None,
    has_grid: bool = True,
) -> str:
    """A chart that `draw` draws on matplotlib axes, as an `<svg>` element; text stays text, in the font of the page.

    `name` must differ between the charts of a page, because ids in the SVG contain it. `place` is the place of the axes
    in the picture (left, bottom, width, height) as shares, to align charts side by side; None: as large as the labels
    allow.
    """
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, **FONT}):
        figure = _figure(draw, inches, place, has_grid)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue())


def chart_picture(
    draw: Callable[[Any], None], *, inches: tuple[float, float] = (3.6, 2.1), has_grid: bool = True
) -> Image.Image:
    """A chart that `draw` draws on matplotlib axes, as a picture on `PAPER`, the background of `show_batch`."""
    import matplotlib

    with matplotlib.rc_context(FONT):
        figure = _figure(draw, inches, None, has_grid)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, facecolor=[value / 255 for value in PAPER])
    return Image.open(buffer).convert("RGB")


def _figure(
    draw: Callable[[Any], None],
    inches: tuple[float, float],
    place: tuple[float, float, float, float] | None,
    has_grid: bool,
) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained" if place is None else None)
    axes = figure.add_subplot() if place is None else figure.add_axes(place)
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    draw(axes)
    _style(axes, has_grid)
    return figure


def time_axis(axes: Any, seconds: float) -> None:
    """Name the axis of time, from 0 on, with a few round ticks."""
    from matplotlib.ticker import FormatStrFormatter, MaxNLocator

    axes.set_xlim(0, seconds)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.set_xlabel("seconds")


def _style(axes: Any, has_grid: bool) -> None:
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.tick_params(colors=INK, length=3)
    if has_grid:
        axes.grid(color=INK, alpha=0.12, lw=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def _inline(svg: str) -> str:
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r"<style[^>]*>.*?</style>", "", element, flags=re.DOTALL)  # it would be one for the whole page
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    return element.replace(INK, "currentColor").strip()
