"""`report.html` of images: a run on one self-contained page, and its pictures as PNG files in the same folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.drawing.pictures import data_uri, save_sheet, to_pixels
from dirvae.evaluate.labels import Label
from dirvae.levels import has_map
from dirvae.report.edges import edge_section
from dirvae.report.event_media import picture_event, posterior_events
from dirvae.report.example_map import map_of
from dirvae.report.gallery import Gallery, make_gallery, reconstruct
from dirvae.report.levels import LevelGallery, make_level_gallery
from dirvae.report.visual_page import VisualReport, bars_of, component_tiles, simplex_of

__all__ = ["ImageReport", "ReportContent", "write_report"]

EDGE_TILE = 128
"""Pixels per side of a picture on an edge, at most."""


@dataclass(frozen=True)
class ReportContent:
    """The content of a report, except the metrics of its run.

    `training` and `held_out` are images (num, channel, height, width) in [0, 1]; `held_out` is None if nothing was held
    out. The mappings hold JSON values: the data, the settings, the numbers at the end. `keys` and `label` belong to the
    held-out images, or else to the training images, as in `ImageReport`.
    """

    training: Tensor
    held_out: Tensor | None
    data: Mapping[str, Any]
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    origin: Mapping[str, Any] = field(default_factory=dict)
    keys: Sequence[str] | None = None
    label: Label | None = None


@dataclass(frozen=True, eq=False)
class ImageReport(VisualReport):
    """A report of images (num, channel, height, width) in [0, 1], which can be written again and again.

    `keys` has a key for each image that is encoded (None: its number), and `label` a colour.
    """

    template = "image_report.html"
    noun = "image"

    training: Tensor
    held_out: Tensor | None
    seed: int
    keys: Sequence[str] | None = None
    label: Label | None = None

    @property
    def images(self) -> Tensor:
        """The images that are encoded."""
        return self.training if self.held_out is None else self.held_out

    def make_pictures(self, run: Path, model: AutoEncoder) -> dict[str, Any]:
        """The pictures of the page; writes `pictures/` into the run folder. Raises `OSError`."""
        gallery = make_gallery(model, self.images, seed=self.seed)
        levels = make_level_gallery(model, gallery, seed=self.seed) if has_map(model) else None
        _save_pictures(run / "pictures", gallery, self.training)
        if levels is not None:
            _save_levels(run / "pictures", gallery, levels)
        components = _uris(_decoded_components(gallery))
        return {
            "training": _uris(self.training),
            "pairs": _pairs(gallery, levels),
            "levels": None if levels is None else _level_pictures(gallery, levels),
            "samples": _uris(gallery.samples),
            "fitted_samples": None if gallery.fitted_samples is None else _uris(gallery.fitted_samples),
            "components": component_tiles(gallery, components, _uris(gallery.differences())),
            "edges": _edges(gallery),
            "traversal": _uris(gallery.traversal),
            "simplex": simplex_of(gallery, components, self.label),
            "map": map_of(gallery.latents, self.encoded_keys, self.label, are_shares=gallery.on_simplex),
        }

    @property
    def encoded_keys(self) -> list[str]:
        """The keys of the images that are encoded."""
        return [f"image {n + 1}" for n in range(len(self.images))] if self.keys is None else list(self.keys)

    @property
    def examples(self) -> Tensor:
        """The images that are encoded."""
        return self.images

    @property
    def is_held_out(self) -> bool:
        """Whether training did not see the encoded images."""
        return self.held_out is not None

    def uris(self, x: Tensor) -> list[str]:
        """Images (num, channel, height, width) as data URIs."""
        return _uris(x)

    def events(self, model: AutoEncoder) -> list[bytes]:
        """Originals above their reconstructions, and the posteriors' parameters, for TensorBoard."""
        x, posterior, decoded = reconstruct(model, self.images)
        sheet = picture_event("originals, reconstructions", [to_pixels(x), to_pixels(decoded)])
        return [sheet, *posterior_events(posterior.parameters)]


def write_report(run: Path, model: AutoEncoder, content: ReportContent, *, seed: int) -> Path:
    """Write `report.html` and `pictures/` into a run folder; returns the page's path. Raises `OSError`."""
    report = ImageReport(content.training, content.held_out, seed, content.keys, content.label)
    return report.write(run, model, content, report.make_pictures(run, model))


def _save_pictures(folder: Path, gallery: Gallery, training: Tensor) -> None:
    save_sheet(folder / "training.png", [to_pixels(training)])
    save_sheet(folder / "reconstructions.png", [to_pixels(gallery.originals), to_pixels(gallery.reconstructions)])
    save_sheet(folder / "samples.png", list(to_pixels(gallery.samples).reshape(-1, 8, *_tile(gallery.samples))))
    if (fitted := gallery.fitted_samples) is not None:
        save_sheet(folder / "samples-fitted.png", list(to_pixels(fitted).reshape(-1, 8, *_tile(fitted))))
    components = to_pixels(_decoded_components(gallery))
    save_sheet(folder / "components.png", [components[start : start + 8] for start in range(0, len(components), 8)])
    save_sheet(folder / "traversal.png", [to_pixels(gallery.traversal)])


def _save_levels(folder: Path, gallery: Gallery, levels: LevelGallery) -> None:
    rows = (gallery.originals, gallery.reconstructions, levels.alone)
    save_sheet(folder / "levels.png", [to_pixels(row) for row in rows])
    save_sheet(folder / "levels-walk.png", [to_pixels(row) for row in levels.walk])
    save_sheet(folder / "levels-exchanged.png", [to_pixels(row) for row in levels.exchanged])
    save_sheet(folder / "levels-drawn.png", [to_pixels(row) for row in levels.drawn])


def _level_pictures(gallery: Gallery, levels: LevelGallery) -> dict[str, Any]:
    num = len(levels.exchanged)
    return {
        "walk": [_uris(row) for row in levels.walk],
        "exchanged": [_uris(row) for row in levels.exchanged],
        "ends": _uris(gallery.originals[:num]),
        "drawn": [_uris(row) for row in levels.drawn],
    }


def _edges(gallery: Gallery) -> dict[str, Any] | None:
    films = to_pixels(gallery.edges.flatten(0, 1))
    tiles = films.reshape(*gallery.edges.shape[:2], 1, *films.shape[1:])
    return edge_section(gallery.edge_numbers, tiles, largest=EDGE_TILE)


def _decoded_components(gallery: Gallery) -> Tensor:
    return torch.stack([component.decoded for component in gallery.components])


def _tile(images: Tensor) -> tuple[int, int, int]:
    return images.shape[2], images.shape[3], 3


def _uris(images: Tensor) -> list[str]:
    return [data_uri(pixels) for pixels in to_pixels(images)]


def _pairs(gallery: Gallery, levels: LevelGallery | None) -> list[dict[str, Any]]:
    originals, reconstructions = _uris(gallery.originals), _uris(gallery.reconstructions)
    pairs = [
        {"original": original, "reconstruction": reconstruction, "psnr_db": psnr_db, "shares": shares}
        for original, reconstruction, psnr_db, shares in zip(
            originals, reconstructions, gallery.psnr_db, bars_of(gallery), strict=True
        )
    ]
    if levels is None:
        return pairs
    alone = zip(pairs, _uris(levels.alone), levels.alone_db, strict=True)
    return [{**pair, "alone": uri, "alone_db": psnr_db} for pair, uri, psnr_db in alone]
