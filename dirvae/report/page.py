"""The page of a run: the parts that the reports of all types have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from dirvae.drawing.curves import Panel, draw_panel
from dirvae.report.sealed_page import seal
from pipelines.storage.durable_files import write_durably

__all__ = ["PageFacts", "render_page", "write_page"]

TEMPLATES = Path(__file__).parent
SCRIPT = "steer.js"


class PageFacts(Protocol):
    """The facts on a page besides its pictures, as JSON values: the data, the settings, the numbers at the end.

    `origin` has the command, the date and the versions by name. It may be empty.
    """

    @property
    def data(self) -> Mapping[str, Any]: ...

    @property
    def config(self) -> Mapping[str, Any]: ...

    @property
    def summary(self) -> Mapping[str, Any]: ...

    @property
    def origin(self) -> Mapping[str, Any]: ...


def write_page(
    run: Path,
    template: str,
    facts: PageFacts,
    panels: Sequence[Panel],
    *,
    noun: str,
    is_held_out: bool,
    pictures: Mapping[str, Any] | None,
    **facts_of_model: Any,
) -> Path:
    """Write `report.html` into a run folder, whole or not at all; returns its path. Raises `OSError`.

    `template` is a file beside this one that extends `page.html` and shows `pictures` (None: there are none yet).
    `noun` is the word for an example; `panels` are the curves of the training.
    """
    from markupsafe import Markup

    page = render_page(
        template,
        name=run.name,
        noun=noun,
        data=facts.data,
        config=facts.config,
        summary=facts.summary,
        is_held_out=is_held_out,
        is_held_out_new=(facts.summary.get("warm_start") or {}).get("is_held_out_new") is not False,
        curves=[{"title": panel.title, "svg": Markup(draw_panel(panel))} for panel in panels],
        origin=facts.origin,
        has_pictures=pictures is not None,
        **facts_of_model,
        **(pictures or {}),
    )
    path = run / "report.html"
    write_durably(path, page)
    return path


def render_page(template: str, **values: Any) -> str:
    """The text of a page with its policy: a template beside this file that extends `document.html`, with values."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["decibels"] = _decibels
    environment.filters["percent"] = _percent
    environment.filters["interval"] = _interval
    script = (TEMPLATES / SCRIPT).read_text(encoding="utf-8")
    return seal(environment.get_template(template).render(script=script, **values), script=script)


def _decibels(value: float | None, sign: str = "") -> str:
    """A level with one decimal; None, for a number that was not finite, is a dash."""
    return "–" if value is None else f"{value:{sign}.1f} dB"


def _percent(value: float | None) -> str:
    """A share as a whole number of percent; None, for a number that was not finite, is a dash."""
    return "–" if value is None else f"{100 * value:.0f} %".replace("-", "−")


def _interval(semitones: float | None) -> str:
    """A difference of pitch in cents; None, for a number that was not finite, is a dash."""
    if semitones is None:
        return "–"
    cents = 100 * semitones
    return f"{cents:.1f} cents" if cents < 10 else f"{cents:,.0f} cents"


def _number(value: Any) -> str:
    """A number as a person writes it; None is a dash, text is unchanged."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        return text.replace("-", "−") if not text.count("e") else text
    return str(value)
