"""Training: the loop, its checkpoints, and what it is told to do."""

from dirvae.run.loading import load_model
from dirvae.training.config import FitConfig, TrainConfig
from dirvae.training.errors import (
    CheckpointError,
    ConfigError,
    NonFiniteError,
    SaveError,
    TrainingError,
    TrainingWarning,
)
from dirvae.training.feed import FeedBatch
from dirvae.training.trainer import Trainer

__all__ = [
    "CheckpointError",
    "ConfigError",
    "FeedBatch",
    "FitConfig",
    "NonFiniteError",
    "SaveError",
    "TrainConfig",
    "Trainer",
    "TrainingError",
    "TrainingWarning",
    "load_model",
]
