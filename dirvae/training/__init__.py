"""Training: the loop, its checkpoints and its settings, for any model and any kind of data."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dirvae.training.config import FitConfig
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

if TYPE_CHECKING:
    from dirvae.run.loading import load_model
    from dirvae.run.train_config import TrainConfig

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

_HIGHER = {"TrainConfig": "dirvae.run.train_config", "load_model": "dirvae.run.loading"}
"""Public names of this folder that live in higher layers, and the modules that are imported for them."""


def __getattr__(name: str) -> Any:
    if name not in _HIGHER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HIGHER[name]), name)
