"""The prior that a run fits to its posteriors at its end, kept beside the checkpoints: `fitted_prior.safetensors`."""

from __future__ import annotations

import warnings
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from dirvae.autoencoder import AutoEncoder
from dirvae.latents.fitted_prior import FittedPrior
from dirvae.tasks.data import TaskData
from dirvae.training.errors import TrainingWarning
from pipelines.storage.durable_files import write_durably

__all__ = ["attach_fitted_prior", "fit_run_prior"]

PRIOR_NAME = "fitted_prior.safetensors"
MOST_EXAMPLES = 2048
MOST_VALUES = 1 << 25
"""Of the examples that a prior is fitted to, in all."""


def fit_run_prior(model: nn.Module, data: TaskData, run: Path, *, step: int, seed: int) -> None:
    """Fit a prior of the model to training examples and keep it in the run's folder; nothing for other models.

    Where it cannot be fitted, because posteriors are not finite for instance, a `TrainingWarning` says so.
    """
    if not isinstance(model, AutoEncoder):
        return
    try:
        first = next(iter(data.training), None)
        if first is None:
            return
        limit = max(32, min(MOST_EXAMPLES, MOST_VALUES // first.data[0].size))
        tensors = model.fit_prior(data.training, limit=limit, seed=seed).tensors()
        write_durably(run / PRIOR_NAME, safetensors.torch.save({**tensors, "step": torch.tensor(step)}))
    except (OSError, RuntimeError, ValueError) as error:
        warnings.warn(
            f"{run / PRIOR_NAME}: no prior was fitted ({error}). Training is not affected.",
            TrainingWarning,
            stacklevel=2,
        )


def attach_fitted_prior(model: nn.Module, run: Path, step: int) -> None:
    """Give a model the prior that its run fitted after this step, if there is one."""
    if not isinstance(model, AutoEncoder):
        return
    try:
        tensors = safetensors.torch.load_file(run / PRIOR_NAME)
    except (OSError, SafetensorError):
        return
    if int(tensors.pop("step")) == step:
        model.fitted_prior = FittedPrior.from_tensors(tensors)
