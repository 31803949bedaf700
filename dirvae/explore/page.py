"""The page of a run: what the reports of all types have in common, around the pictures of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from dirvae.autoencoder import AutoEncoder
from dirvae.explore.curves import draw_panel, run_panels
from dirvae.explore.gallery import Gallery
from dirvae.latents.latent import SimplexLatent
from dirvae.training.logging import read_metrics
from pipelines.storage.durable_files import write_durably

__all__ = ["PageFacts", "component_tiles", "write_page"]

TEMPLATES = Path(__file__).parent


class PageFacts(Protocol):
    """What a page says besides its pictures, as JSON values: the data, the settings, the numbers at the end."""

    @property
    def data(self) -> Mapping[str, Any]: ...

    @property
    def config(self) -> Mapping[str, Any]: ...

    @property
    def summary(self) -> Mapping[str, Any]: ...


def write_page(
    run: Path, template: str, model: AutoEncoder, facts: PageFacts, *, noun: str, is_held_out: bool, **parts: Any
) -> Path:
    """Write `report.html` into a run folder; returns its path. Raises `OSError`.

    `template` is a file beside this one that extends `page.html` and shows `parts`; `noun` is that of an example.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    panels = run_panels(read_metrics(run / "metrics.jsonl"), noun=noun)
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
    page = environment.get_template(template).render(
        name=run.name,
        noun=noun,
        data=facts.data,
        config=facts.config,
        summary=facts.summary,
        grid=model.grid,
        is_held_out=is_held_out,
        is_held_out_new=(facts.summary.get("warm_start") or {}).get("is_held_out_new") is not False,
        are_shares=isinstance(model.latent, SimplexLatent),
        curves=[{"title": panel.title, "svg": Markup(draw_panel(panel))} for panel in panels],
        **parts,
    )
    path = run / "report.html"
    write_durably(path, page)
    return path


def component_tiles(gallery: Gallery, uris: list[str]) -> list[dict[str, Any]]:
    """The components of a gallery for the page, each with the address of its picture."""
    largest = max((abs(component.mean) for component in gallery.components), default=0.0) or 1.0
    return [
        {
            "number": component.number,
            "mean": component.mean,
            "is_used": component.is_used,
            "bar_percent": round(100 * abs(component.mean) / largest, 1),
            "uri": uri,
        }
        for component, uri in zip(gallery.components, uris, strict=True)
    ]


def _decibels(value: float | None, sign: str = "") -> str:
    """A level with one decimal; None, for a number that was not finite, is a dash."""
    return "–" if value is None else f"{value:{sign}.1f} dB"


def _percent(value: float | None) -> str:
    """A share as a whole number of percent; None, for a number that was not finite, is a dash."""
    return "–" if value is None else f"{100 * value:.0f} %".replace("-", "−")


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
