"""`TrainConfig`: the settings of a run on images as one flat value."""

from __future__ import annotations

from dataclasses import dataclass

from dirvae.run.config import RunConfig
from dirvae.tasks.image import ImageData, ImageModel
from dirvae.training.config import FitConfig

__all__ = ["TrainConfig"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ImageModel, ImageData, FitConfig):
    """All settings of `python -m dirvae.train --type image`: of training, of the images, of the model, and `init_from`.

    It is a `FitConfig` that a `Trainer` takes; `to_run()` gives the same settings in parts, as a run has them.
    """

    init_from: str | None = None

    def to_run(self) -> RunConfig:
        """The settings in parts."""
        return RunConfig.of("image", self.to_json())
