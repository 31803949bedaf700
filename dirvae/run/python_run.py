"""The settings of a run that was started by a `Trainer` in Python: its checkpoint says what it trained on and with."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from dirvae.run.folder import CONFIG_NAME
from dirvae.tasks import TASKS, find_task
from dirvae.tasks.data import DataSettings
from dirvae.training.checkpoint import CheckpointFolder
from dirvae.training.config import FitConfig
from dirvae.training.errors import CheckpointError, TrainingWarning

__all__ = ["is_from_python", "other_data", "settings_of_checkpoint"]


def settings_of_checkpoint(run: Path) -> tuple[str, dict[str, Any]] | None:
    """The type and the settings, by name; None where no checkpoint knows them.

    They are known where the batches came from an iterator of `pipelines` over data of a type, and the model is one that
    a checkpoint can name. What neither of them says has its default.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TrainingWarning)  # whoever opens the checkpoint hears of damaged ones
            checkpoint = CheckpointFolder(run / "checkpoints").newest()
    except CheckpointError:
        return None
    if checkpoint is None:
        return None
    data, arguments = checkpoint.state.get("data"), checkpoint.state["model"]["arguments"]
    if data is None or data["modality"] not in TASKS or arguments is None:
        return None
    task = find_task(data["modality"])
    known = {*task.data.names(), *task.model.names()}
    settings = {name: value for name, value in {**arguments, **data}.items() if name in known}
    fit = FitConfig.from_joined(checkpoint.state["config"])
    return task.name, {**fit.to_json(), **settings}


def is_from_python(run: Path) -> bool:
    """Whether a folder holds the checkpoints of a `Trainer` in Python, and no settings of a command."""
    return not (run / CONFIG_NAME).exists() and bool(CheckpointFolder(run / "checkpoints").steps())


def other_data(run: Path, data: DataSettings) -> str:
    """The sentence for a run from Python whose data cannot be opened by what its checkpoint says of it."""
    part = "all examples" if data.held_out is None else f"all but {data.held_out:g} of the examples"
    return (
        f"{run}: a Trainer in Python made this run, by its checkpoint over {part} of {data.source}, but these are not "
        "the examples that it read: a selection, a split by another seed, or data that has changed or moved since."
    )
