"""`report.html` of clips of video: film strips and small animations on one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.drawing.film import animation_uri, clip_pixels, frame_milliseconds, shown_frames, strip_ratio, strip_uri
from dirvae.drawing.pictures import data_uri, save_sheet
from dirvae.evaluate.labels import Label
from dirvae.levels import has_map
from dirvae.metrics import psnr
from dirvae.report.edges import EdgeCounts, edge_section
from dirvae.report.event_media import picture_event, posterior_events
from dirvae.report.example_map import map_of
from dirvae.report.gallery import Counts, Gallery, make_gallery, reconstruct
from dirvae.report.levels import decode_alone
from dirvae.report.visual_page import VisualReport, bars_of, component_tiles, simplex_of

__all__ = ["ClipReport", "ClipReportContent", "Clips", "write_clip_report"]

CLIPS = Counts(shown=6, samples=4, components=32, steps=5, rows=8, edges=EdgeCounts(4, 5))
EDGE_TILE = 80
"""Pixels per side of a frame on an edge, at most."""


@dataclass(frozen=True, eq=False)
class Clips:
    """Clips `data` (num, channel, time, height, width) in [0, 1], the key of each, and the times of its frames in s."""

    data: Tensor
    keys: list[str]
    seconds: list[list[float]]


@dataclass(frozen=True)
class ClipReportContent:
    """The content of a report, except the metrics of its run.

    `held_out` is None if nothing was held out. The mappings hold JSON values: the data, the settings, the numbers at
    the end. `label` belongs to the held-out clips, or else to the training clips.
    """

    training: Clips
    held_out: Clips | None
    data: Mapping[str, Any]
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    origin: Mapping[str, Any] = field(default_factory=dict)
    label: Label | None = None


@dataclass(frozen=True, eq=False)
class ClipReport(VisualReport):
    """A report of clips of video, which can be written again and again; `label` colours the encoded clips."""

    template = "clip_report.html"
    noun = "clip"

    training: Clips
    held_out: Clips | None
    seed: int
    label: Label | None = None

    @property
    def clips(self) -> Clips:
        """The clips that are encoded."""
        return self.training if self.held_out is None else self.held_out

    def make_pictures(self, run: Path, model: AutoEncoder) -> dict[str, Any]:
        """The pictures of the page; writes `pictures/` into the run folder. Raises `OSError`."""
        clips = self.clips
        gallery = make_gallery(model, clips.data, seed=self.seed, counts=CLIPS)
        pace = frame_milliseconds(clips.seconds[0])
        components = clip_pixels(torch.stack([component.decoded for component in gallery.components]))
        differences = clip_pixels(gallery.differences())
        samples = [f"sample {n + 1}" for n in range(CLIPS.samples)]
        _save_pictures(run / "pictures", gallery, components, self.training.data)
        return {
            "training": _films(clip_pixels(self.training.data), pace, labels=self.training.keys),
            "pairs": _pairs(gallery, clips, decode_alone(model, gallery) if has_map(model) else None),
            "samples": _films(clip_pixels(gallery.samples), pace, labels=samples),
            "fitted_samples": (
                None
                if gallery.fitted_samples is None
                else _films(clip_pixels(gallery.fitted_samples), pace, labels=samples)
            ),
            "components": component_tiles(
                gallery,
                [animation_uri([clip], milliseconds=pace) for clip in components],
                [animation_uri([clip], milliseconds=pace) for clip in differences],
            ),
            "edges": _edges(gallery, pace),
            "traversal": _films(
                clip_pixels(gallery.traversal), pace, labels=["first clip", *_between(), "second clip"]
            ),
            "simplex": simplex_of(gallery, [data_uri(clip[len(clip) // 2]) for clip in components], self.label),
            "map": map_of(gallery.latents, clips.keys, self.label, are_shares=gallery.on_simplex),
            "strip_ratio": strip_ratio(components[0]),
            "ends": [clips.keys[number] for number in gallery.pair],
        }

    @property
    def encoded_keys(self) -> list[str]:
        """The keys of the clips that are encoded."""
        return self.clips.keys

    @property
    def examples(self) -> Tensor:
        """The clips that are encoded."""
        return self.clips.data

    @property
    def is_held_out(self) -> bool:
        """Whether training did not see the encoded clips."""
        return self.held_out is not None

    def uris(self, x: Tensor) -> list[str]:
        """Clips (num, channel, time, height, width) as data URIs of animations."""
        pace = frame_milliseconds(self.clips.seconds[0])
        return [animation_uri([clip], milliseconds=pace) for clip in clip_pixels(x)]

    def events(self, model: AutoEncoder) -> list[bytes]:
        """Film strips of originals, each above its reconstruction, and the posteriors' parameters, for TensorBoard."""
        x, posterior, decoded = reconstruct(model, self.clips.data, num=4)
        pairs = zip(clip_pixels(x), clip_pixels(decoded), strict=True)
        rows = [clip[shown_frames(len(clip))] for pair in pairs for clip in pair]
        return [picture_event("originals, reconstructions", rows), *posterior_events(posterior.parameters)]


def write_clip_report(run: Path, model: AutoEncoder, content: ClipReportContent, *, seed: int) -> Path:
    """Write `report.html` and `pictures/` into a run folder; returns the page's path. Raises `OSError`."""
    report = ClipReport(content.training, content.held_out, seed, content.label)
    return report.write(run, model, content, report.make_pictures(run, model))


def _pairs(gallery: Gallery, clips: Clips, alone: Tensor | None) -> list[dict[str, Any]]:
    """The shown clips and their reconstructions, and what their vectors decode to alone, for the page."""
    found: list[dict[str, Any]] = []
    bars = bars_of(gallery)
    both = zip(clip_pixels(gallery.originals), clip_pixels(gallery.reconstructions), strict=True)
    for number, (original, decoded) in enumerate(both):
        seconds = clips.seconds[number]
        shown = [original, decoded]
        more: dict[str, Any] = {}
        if alone is not None:
            shown += list(clip_pixels(alone[number : number + 1]))
            x, y = gallery.originals[number : number + 1], alone[number : number + 1].clamp(0, 1)
            more = {"alone": strip_uri(shown[2]), "alone_db": float(psnr(y, x)[0])}
        found.append(
            {
                "key": clips.keys[number],
                "psnr_db": gallery.psnr_db[number],
                "shares": bars[number],
                "begin_seconds": seconds[0],
                "frames": [
                    {"number": frame + 1, "seconds": seconds[frame] - seconds[0]}
                    for frame in shown_frames(len(seconds))
                ],
                "moving": animation_uri(shown, milliseconds=frame_milliseconds(seconds)),
                "original": strip_uri(original),
                "reconstruction": strip_uri(decoded),
                **more,
            }
        )
    return found


def _films(clips: NDArray[np.uint8], milliseconds: int, *, labels: list[str]) -> list[dict[str, Any]]:
    """Clips (num, time, height, width, 3), each as an animation and a strip, for the page."""
    return [
        {"label": label, "moving": animation_uri([clip], milliseconds=milliseconds), "strip": strip_uri(clip)}
        for label, clip in zip(labels, clips, strict=True)
    ]


def _edges(gallery: Gallery, pace: int) -> dict[str, Any] | None:
    clips = clip_pixels(gallery.edges.flatten(0, 1))
    frames = shown_frames(clips.shape[1])
    milliseconds = round(pace * clips.shape[1] / len(frames))
    films = clips[:, frames].reshape(*gallery.edges.shape[:2], len(frames), *clips.shape[2:])
    return edge_section(gallery.edge_numbers, films, largest=EDGE_TILE, milliseconds=milliseconds)


def _between() -> list[str]:
    """The names of the steps between the two ends of a traversal."""
    return [f"{100 * step / (CLIPS.steps - 1):.0f} %" for step in range(1, CLIPS.steps - 1)]


def _save_pictures(folder: Path, gallery: Gallery, components: NDArray[np.uint8], training: Tensor) -> None:
    pairs = zip(clip_pixels(gallery.originals), clip_pixels(gallery.reconstructions), strict=True)
    sheets = {
        "training": list(clip_pixels(training)),
        "reconstructions": [clip for pair in pairs for clip in pair],
        "samples": list(clip_pixels(gallery.samples)),
        "components": list(components),
        "traversal": list(clip_pixels(gallery.traversal)),
    }
    for name, clips in sheets.items():
        save_sheet(folder / f"{name}.png", [clip[shown_frames(len(clip))] for clip in clips])
