"""The errors of training, as a tree.

TrainingError
├── ConfigError       a setting with an invalid value, an unknown one, or one that a resumed run may not change
├── CheckpointError   a checkpoint or run folder that is missing, damaged or does not fit the model
│   └── SaveError     a checkpoint could not be written to the disk
└── NonFiniteError    too many updates in a row were not finite

TrainingWarning       something went wrong and training continues: a failed save, a skipped checkpoint
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ConfigError",
    "FirstRankError",
    "NonFiniteError",
    "SaveError",
    "TrainingError",
    "TrainingWarning",
]


class TrainingError(Exception):
    """Root of the tree; `str()` of it is one sentence that names the thing, the value and the remedy."""


class ConfigError(TrainingError, ValueError):
    """A setting is out of range, unknown, or differs from what the run was started with."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be written, read or loaded into this model."""


class SaveError(CheckpointError):
    """A checkpoint could not be written: the disk is full, read-only or gone. Earlier checkpoints are untouched."""


class NonFiniteError(TrainingError):
    """Losses or gradients were NaN or infinite in too many steps in a row."""


class FirstRankError(TrainingError):
    """The first of several processes failed, and says why itself."""


class TrainingWarning(UserWarning):
    """Training continues, but someone should know."""
