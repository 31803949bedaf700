"""The page of a run on images or clips of video, around the pictures of one of the two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dirvae.autoencoder import AutoEncoder
from dirvae.explore.curves import run_panels
from dirvae.explore.gallery import Gallery
from dirvae.explore.page import PageFacts, write_page
from dirvae.latents.latent import SimplexLatent
from dirvae.training.logging import read_metrics

__all__ = ["component_tiles", "write_visual_page"]


def write_visual_page(
    run: Path, template: str, model: AutoEncoder, facts: PageFacts, *, noun: str, is_held_out: bool, **parts: Any
) -> Path:
    """Write `report.html` into a run folder; returns its path. Raises `OSError`.

    `template` extends `visual_page.html` and shows `parts`; `noun` is that of an example.
    """
    return write_page(
        run,
        template,
        facts,
        run_panels(read_metrics(run / "metrics.jsonl"), noun=noun),
        noun=noun,
        is_held_out=is_held_out,
        grid=model.grid,
        are_shares=isinstance(model.latent, SimplexLatent),
        **parts,
    )


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
