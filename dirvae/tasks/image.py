"""`--type image`: square images, a residual network, a report with pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dirvae.tasks.data import TaskData, first_examples
from dirvae.tasks.shown_label import shown_label
from dirvae.tasks.task import AddFlag, Task
from dirvae.tasks.visual_settings import VisualData, VisualModel, add_data_flags, add_model_flags
from dirvae.training.errors import ConfigError
from dirvae.training.settings import FREE

if TYPE_CHECKING:
    from dirvae.autoencoder import AutoEncoder
    from dirvae.report.image_report import ImageReport
    from pipelines import ImageIterator

__all__ = ["IMAGE", "ImageData", "ImageModel"]

NUM_THUMBNAILS = 12
NUM_IN_GALLERY = 256


@dataclass(frozen=True, kw_only=True)
class ImageData(VisualData):
    """Which images, and how they look; see `VisualData`. `channels` is 3 for colours or 1 for greys."""

    source: str = field(default="data/image", metadata=FREE)
    channels: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("channels", self.channels in (1, 3), "3 for colours or 1 for greys")


@dataclass(frozen=True, kw_only=True)
class ImageModel(VisualModel):
    """Which `ResNetVAE`; see `VisualModel`."""


def _add_arguments(add: AddFlag) -> None:
    add_data_flags(add, plural="images", max_pixels="refuse larger images; 178956970 by default")
    add("--channels", "3 for colours, 1 for greys", type=int, choices=(1, 3))
    add_model_flags(add, noun="image")


def _open_iterator(source: Any, settings: ImageData, *, is_training: bool = False, **order: Any) -> ImageIterator:
    from pipelines import ImageIterator

    return ImageIterator(
        source,
        size=settings.size,
        batch_size=settings.batch_size,
        threads=settings.threads,
        on_error=settings.on_error,
        flip=settings.flip and is_training,
        grayscale=settings.channels == 1,
        max_pixels=settings.max_pixels,
        **order,
    )


def _build_model(data: ImageData, model: ImageModel) -> AutoEncoder:
    from dirvae.networks import ResNetVAE

    try:
        return ResNetVAE(size=data.size, channels=data.channels, **model.to_json())
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _make_evaluation(data: TaskData, seed: int) -> Callable[[Any], dict[str, Any]]:
    from dirvae.evaluate.held_out import HeldOut, mean_example

    assert data.held_out is not None
    return HeldOut(data.held_out, mean=mean_example(data.training), seed=seed)


def _open_report(data: TaskData, seed: int) -> ImageReport:
    from dirvae.report.image_report import ImageReport

    training = first_examples(data.training, NUM_THUMBNAILS)
    held_out = None if data.held_out is None else first_examples(data.held_out, NUM_IN_GALLERY)
    encoded = training if held_out is None else held_out
    label = shown_label(data.encoded, len(encoded.keys), data.settings.label)
    images = None if held_out is None else held_out.data
    return ImageReport(training.data, images, seed, encoded.keys, label)


IMAGE = Task(
    name="image",
    data=ImageData,
    model=ImageModel,
    add_arguments=_add_arguments,
    open_iterator=_open_iterator,
    build_model=_build_model,
    make_evaluation=_make_evaluation,
    open_report=_open_report,
)
