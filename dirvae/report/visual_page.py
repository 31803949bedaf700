"""The page of a run on images or on clips of video."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.drawing.charts import COMPONENT_COLOURS, OTHERS
from dirvae.drawing.colouring import by_label
from dirvae.drawing.curves import run_panels
from dirvae.drawing.simplex import coloured_components, draw_simplex, share_bars
from dirvae.evaluate.labels import Label
from dirvae.latents.latent import SimplexLatent
from dirvae.levels import has_map
from dirvae.losses import BernoulliLikelihood
from dirvae.metrics import psnr
from dirvae.report.comparison import ComparedExample, Comparison, component_use
from dirvae.report.gallery import Gallery, reconstruct
from dirvae.report.page import PageFacts, write_page
from dirvae.training.logging import read_metrics

__all__ = ["VisualReport", "bars_of", "component_tiles", "simplex_of", "write_visual_page"]


class VisualReport(ABC):
    """The parts that reports of images and of clips have in common: the page, and the comparison with other runs.

    `template` is the file of the page, `noun` the word for an example.
    """

    template: ClassVar[str]
    noun: ClassVar[str]

    @property
    @abstractmethod
    def examples(self) -> Tensor:
        """The examples that are encoded: (num, channel, *dims) in [0, 1]."""

    @property
    @abstractmethod
    def is_held_out(self) -> bool:
        """Whether training did not see these examples."""

    @abstractmethod
    def uris(self, x: Tensor) -> list[str]:
        """Examples (num, channel, *dims) as data URIs of pictures."""

    def write(self, run: Path, model: AutoEncoder, facts: PageFacts, pictures: Mapping[str, Any] | None) -> Path:
        """Write `report.html` into a run folder; returns its path. Raises `OSError`."""
        return write_visual_page(
            run,
            self.template,
            model,
            facts,
            noun=self.noun,
            is_held_out=self.is_held_out,
            num_values=self.examples[0].numel(),
            pictures=pictures,
        )

    def compare(self, model: AutoEncoder, numbers: Sequence[int]) -> Comparison:
        """The examples of these numbers beside their reconstructions, and how much each component is used."""
        x, _, decoded = reconstruct(model, self.examples[list(numbers)], num=len(numbers))
        levels = psnr(decoded.clamp(0, 1), x).tolist()
        pairs = zip(self.uris(x), self.uris(decoded), levels, strict=True)
        return Comparison(
            [ComparedExample(original, made, f"{level:.1f} dB") for original, made, level in pairs],
            component_use(model, self.examples),
        )


def write_visual_page(
    run: Path,
    template: str,
    model: AutoEncoder,
    facts: PageFacts,
    *,
    noun: str,
    is_held_out: bool,
    num_values: int,
    pictures: Mapping[str, Any] | None,
) -> Path:
    """Write `report.html` into a run folder; returns its path. Raises `OSError`.

    `template` extends `visual_page.html` and shows `pictures`. `noun` is the word for an example, which has
    `num_values` numbers.
    """
    evaluation = facts.summary.get("evaluation") or {}
    is_binary = isinstance(model.likelihood, BernoulliLikelihood)
    return write_page(
        run,
        template,
        facts,
        run_panels(read_metrics(run / "metrics.jsonl"), noun=noun),
        noun=noun,
        is_held_out=is_held_out,
        grid=model.grid,
        map_grid=model.map_grid if has_map(model) else None,
        are_shares=isinstance(model.latent, SimplexLatent),
        bits=bits_per_value(evaluation.get("bound"), num_values, is_binary=is_binary),
        bits_of_chance=1 if is_binary else 8,
        pictures=pictures,
    )


def bits_per_value(bound: float | None, num_values: int, *, is_binary: bool) -> float | None:
    """A bound in nats on the log density of `num_values` numbers in [0, 1], converted to bits per number.

    The numbers are steps of 1/255; if `is_binary`, they are 0 or 1, and the bound is on a probability. Uniformly
    distributed numbers would cost 8 bits, or 1 bit.
    """
    if bound is None:
        return None
    nats = -bound / num_values + (0 if is_binary else math.log(255))
    return nats / math.log(2)


def bars_of(gallery: Gallery) -> list[list[dict[str, Any]] | None]:
    """The shares of each shown example as segments of a bar; None for a latent without shares."""
    num = len(gallery.originals)
    if not gallery.on_simplex:
        return [None] * num
    return [*share_bars(gallery.latents[:num], coloured_components(gallery.latents))]


def simplex_of(gallery: Gallery, uris: list[str] | None, label: Label | None = None) -> str | None:
    """All examples as points between the pictures of the components; None for a latent without shares.

    `uris` are the pictures of the gallery's components, in the same order; `label` gives the points their colours.
    """
    if not gallery.on_simplex:
        return None
    numbers = [component.number for component in gallery.components]
    found = None if uris is None else dict(zip(numbers, uris, strict=True))
    colours = None if label is None else by_label(label).colours
    return draw_simplex(gallery.latents, uris=found, colours=colours)


def component_tiles(gallery: Gallery, uris: list[str], differences: list[str]) -> list[dict[str, Any]]:
    """The components of a gallery for the page, with data URIs of their pictures and of their differences."""
    colours = dict(zip(coloured_components(gallery.latents), COMPONENT_COLOURS, strict=False))
    largest = max((abs(component.mean) for component in gallery.components), default=0.0) or 1.0
    return [
        {
            "number": component.number,
            "mean": component.mean,
            "is_used": component.is_used,
            "bar_percent": round(100 * abs(component.mean) / largest, 1),
            "colour": colours.get(component.number, OTHERS) if gallery.on_simplex else None,
            "uri": uri,
            "difference": difference,
        }
        for component, uri, difference in zip(gallery.components, uris, differences, strict=True)
    ]
