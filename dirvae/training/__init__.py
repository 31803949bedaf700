"""Training: the loop, its checkpoints and its settings, for any model and any kind of data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dirvae.training.config import FitConfig
from dirvae.training.errors import (
    CheckpointError,
    ConfigError,
    NonFiniteError,
    SaveError,
    TrainingError,
    TrainingWarning,
)
from pipelines.lazy_names import lazy_names

if TYPE_CHECKING:
    from dirvae.run.loading import load_model
    from dirvae.run.train_config import TrainConfig
    from dirvae.training.callbacks import Callbacks, Moment
    from dirvae.training.feed import FeedBatch
    from dirvae.training.trainer import Trainer

__all__ = [
    "Callbacks",
    "CheckpointError",
    "ConfigError",
    "FeedBatch",
    "FitConfig",
    "Moment",
    "NonFiniteError",
    "SaveError",
    "TrainConfig",
    "Trainer",
    "TrainingError",
    "TrainingWarning",
    "load_model",
]

lazy_names(
    __name__,
    {
        "Callbacks": "dirvae.training.callbacks",
        "FeedBatch": "dirvae.training.feed",
        "Moment": "dirvae.training.callbacks",
        "TrainConfig": "dirvae.run.train_config",
        "Trainer": "dirvae.training.trainer",
        "load_model": "dirvae.run.loading",
    },
)
