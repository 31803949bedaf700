"""`report.html` of images: a run on one self-contained page, and its pictures as PNG files in the same folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.explore.gallery import Gallery, make_gallery
from dirvae.explore.pictures import data_uri, save_sheet, to_pixels
from dirvae.explore.visual_page import component_tiles, write_visual_page

__all__ = ["ReportContent", "write_report"]


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
    images = content.held_out if content.held_out is not None else content.training
    gallery = make_gallery(model, images, seed=seed)
    _save_pictures(run / "pictures", gallery, content.training)
    return write_visual_page(
        run,
        "image_report.html",
        model,
        content,
        noun="image",
        is_held_out=content.held_out is not None,
        training=_uris(content.training),
        pairs=_pairs(gallery),
        samples=_uris(gallery.samples),
        components=component_tiles(gallery, _uris(_decoded_components(gallery))),
        traversal=_uris(gallery.traversal),
    )


def _save_pictures(folder: Path, gallery: Gallery, training: Tensor) -> None:
    save_sheet(folder / "training.png", [to_pixels(training)])
    save_sheet(folder / "reconstructions.png", [to_pixels(gallery.originals), to_pixels(gallery.reconstructions)])
    save_sheet(folder / "samples.png", list(to_pixels(gallery.samples).reshape(-1, 8, *_tile(gallery.samples))))
    components = to_pixels(_decoded_components(gallery))
    save_sheet(folder / "components.png", [components[start : start + 8] for start in range(0, len(components), 8)])
    save_sheet(folder / "traversal.png", [to_pixels(gallery.traversal)])


def _decoded_components(gallery: Gallery) -> Tensor:
    return torch.stack([component.decoded for component in gallery.components])


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
