"""`report.html`: a run on one self-contained page, and its pictures as PNG files in the same folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.explore.curves import draw_panel, run_panels
from dirvae.explore.gallery import Gallery, make_gallery
from dirvae.explore.pictures import data_uri, save_sheet, to_pixels
from dirvae.latents.latent import SimplexLatent
from dirvae.training.logging import read_metrics
from pipelines.storage.durable_files import write_durably

__all__ = ["ReportContent", "write_report"]

TEMPLATE = Path(__file__).with_name("report.html")


@dataclass(frozen=True)
class ReportContent:
    """What a report shows besides the metrics of its run.

    `training` and `held_out` are images (num, channel, height, width) in [0, 1], the latter None where nothing was
    held out; the mappings hold JSON values: the data, the settings, the numbers at the end.
    """

    training: Tensor
    held_out: Tensor | None
    data: Mapping[str, Any]
    config: Mapping[str, Any]
    summary: Mapping[str, Any]


def write_report(run: Path, model: AutoEncoder, content: ReportContent, *, seed: int) -> Path:
    """Write `report.html` and `pictures/` into a run folder; returns the page's path. Raises `OSError`."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    device = next(model.parameters()).device
    is_held_out = content.held_out is not None
    images = content.held_out if content.held_out is not None else content.training
    gallery = make_gallery(model, images.to(device), seed=seed)
    _save_pictures(run / "pictures", gallery, content.training)
    panels = run_panels(read_metrics(run / "metrics.jsonl"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = _number
    environment.filters["decibels"] = _decibels
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        name=run.name,
        data=content.data,
        config=content.config,
        summary=content.summary,
        is_held_out=is_held_out,
        is_held_out_new=(content.summary.get("warm_start") or {}).get("is_held_out_new") is not False,
        are_shares=isinstance(model.latent, SimplexLatent),
        curves=[{"title": panel.title, "svg": Markup(draw_panel(panel))} for panel in panels],
        training=_uris(content.training),
        pairs=_pairs(gallery),
        samples=_uris(gallery.samples),
        components=_components(gallery),
        traversal=_uris(gallery.traversal),
    )
    path = run / "report.html"
    write_durably(path, page)
    return path


def _save_pictures(folder: Path, gallery: Gallery, training: Tensor) -> None:
    save_sheet(folder / "training.png", [to_pixels(training)])
    save_sheet(folder / "reconstructions.png", [to_pixels(gallery.originals), to_pixels(gallery.reconstructions)])
    save_sheet(folder / "samples.png", list(to_pixels(gallery.samples).reshape(-1, 8, *_tile(gallery.samples))))
    components = to_pixels(torch.stack([component.picture for component in gallery.components]))
    save_sheet(folder / "components.png", [components[start : start + 8] for start in range(0, len(components), 8)])
    save_sheet(folder / "traversal.png", [to_pixels(gallery.traversal)])


def _tile(images: Tensor) -> tuple[int, int, int]:
    return images.shape[2], images.shape[3], 3


def _uris(images: Tensor) -> list[str]:
    return [data_uri(pixels) for pixels in to_pixels(images)]


def _pairs(gallery: Gallery) -> list[dict[str, Any]]:
    originals, reconstructions = _uris(gallery.originals), _uris(gallery.reconstructions)
    return [
        {"original": original, "reconstruction": reconstruction, "psnr_db": psnr_db}
        for original, reconstruction, psnr_db in zip(originals, reconstructions, gallery.psnr_db, strict=True)
    ]


def _components(gallery: Gallery) -> list[dict[str, Any]]:
    largest = max((abs(component.mean) for component in gallery.components), default=0.0) or 1.0
    return [
        {
            "number": component.number,
            "mean": component.mean,
            "is_used": component.is_used,
            "bar_percent": round(100 * abs(component.mean) / largest, 1),
            "uri": data_uri(to_pixels(component.picture[None])[0]),
        }
        for component in gallery.components
    ]


def _decibels(value: float | None, sign: str = "") -> str:
    """A level with one decimal; None, for a number that was not finite, is a dash."""
    return "–" if value is None else f"{value:{sign}.1f} dB"


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
