"""`--type image`: square images, a residual network, a report with pictures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.evaluate.held_out import HeldOut, mean_image
from dirvae.explore.report import ReportContent, write_report
from dirvae.latents import LATENTS
from dirvae.losses import LIKELIHOODS
from dirvae.networks import ResNetVAE
from dirvae.networks.resnet import PRESETS
from dirvae.tasks.data import DataSettings, TaskData
from dirvae.tasks.task import AddFlag, RunFacts, Task
from dirvae.training.errors import ConfigError
from dirvae.training.feed import to_device
from dirvae.training.settings import FREE, Settings, is_positive
from pipelines import ImageIterator

__all__ = ["IMAGE", "ImageData", "ImageModel"]

NUM_THUMBNAILS = 12
NUM_IN_GALLERY = 256


@dataclass(frozen=True, kw_only=True)
class ImageData(DataSettings):
    """Which images, and how they look: `size` is the side of the squares in pixels; `flip` mirrors half of them.

    Larger images than `max_pixels` are refused; None: `pipelines.ImageIterator`'s own limit.
    """

    source: str = field(default="data/image", metadata=FREE)
    size: int = 64
    flip: bool = False
    max_pixels: int | None = field(default=None, metadata=FREE)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_counts("size", smallest=1)
        self.check_counts_or_none("max_pixels")
        self.check("flip", isinstance(self.flip, bool), "True or False")


@dataclass(frozen=True, kw_only=True)
class ImageModel(Settings):
    """Which `ResNetVAE`.

    `grid` is the side of the map of latents (None: one latent per image), `prior` the concentration of the latent's
    prior or "learned" (None: the latent's own default), `fixed_scale` the scale that the likelihood keeps (None:
    learned).
    """

    preset: str = "tiny"
    model_size: int = 32
    grid: int | None = None
    latent: str = "dirichlet"
    prior: float | str | None = None
    likelihood: str = "gaussian"
    fixed_scale: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("preset", self.preset in PRESETS, f"one of {', '.join(PRESETS)}")
        self.check_counts("model_size", smallest=2)
        self.check_counts_or_none("grid")
        self.check("latent", self.latent in LATENTS, f"one of {', '.join(sorted(LATENTS))}")
        prior = self.prior is None or self.prior == "learned" or is_positive(self.prior)
        self.check("prior", prior, "None, 'learned' or a finite number > 0")
        self.check("likelihood", self.likelihood in LIKELIHOODS, f"one of {', '.join(sorted(LIKELIHOODS))}")
        scale = self.fixed_scale is None or is_positive(self.fixed_scale)
        self.check("fixed_scale", scale, "None or a finite number > 0")


def _add_arguments(add: AddFlag) -> None:
    add("--size", "side of the images in pixels", type=int)
    add("--flip", "mirror half of the images", action="store_true")
    add("--max-pixels", "refuse larger images; 178956970 by default", type=int, metavar="NUM")
    add("--preset", "size of the network", choices=PRESETS)
    add("--model-size", "components of the latent", type=int)
    add("--grid", "side of a map with one latent per cell; one latent per image by default", type=int)
    add("--latent", "kind of latent", choices=sorted(LATENTS))
    add("--prior", "concentration of its prior, or 'learned'; its own by default", type=_prior, metavar="NUMBER")
    add(
        "--likelihood",
        "distribution of the pixels around the decoded ones; mse is not a likelihood and gives no bound",
        choices=sorted(LIKELIHOODS),
    )
    add("--fixed-scale", "scale that the likelihood keeps, in units of the data; learned by default", type=float)


def _prior(text: str) -> float | str:
    if text == "learned":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor 'learned'") from None


def _open_iterator(source: Any, settings: ImageData, *, is_training: bool = False, **order: Any) -> ImageIterator:
    return ImageIterator(
        source,
        size=settings.size,
        batch_size=settings.batch_size,
        threads=settings.threads,
        on_error=settings.on_error,
        flip=settings.flip and is_training,
        max_pixels=settings.max_pixels,
        **order,
    )


def _build_model(data: ImageData, model: ImageModel) -> AutoEncoder:
    try:
        return ResNetVAE(size=data.size, **model.to_json())
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _make_evaluation(data: TaskData, seed: int) -> Callable[[Any], dict[str, Any]]:
    assert data.held_out is not None
    return HeldOut(data.held_out, mean=mean_image(data.training), seed=seed)


def _write_report(run: Path, model: AutoEncoder, data: TaskData, facts: RunFacts) -> Path:
    content = ReportContent(
        training=_first(data.training, NUM_THUMBNAILS),
        held_out=None if data.held_out is None else _first(data.held_out, NUM_IN_GALLERY),
        data=data.facts,
        config=facts.config,
        summary=facts.summary,
    )
    return write_report(run, model, content, seed=facts.seed)


def _first(batches: Iterable[Any], num: int) -> Tensor:
    """The first examples of batches, on the CPU: (num or fewer, channel, height, width) float32 in [0, 1]."""
    parts: list[Tensor] = []
    for batch in islice(batches, num):
        parts.append(to_device(batch.data, torch.device("cpu")))
        if sum(map(len, parts)) >= num:
            break
    return torch.cat(parts)[:num]


IMAGE = Task(
    name="image",
    data=ImageData,
    model=ImageModel,
    add_arguments=_add_arguments,
    open_iterator=_open_iterator,
    build_model=_build_model,
    make_evaluation=_make_evaluation,
    write_report=_write_report,
)
