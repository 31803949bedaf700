"""From a run folder to the model that it trained."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import torch

from dirvae.networks import MLPVAE, AudioVAE, ResNetVAE, VideoVAE
from dirvae.run.fitted_prior import attach_fitted_prior
from dirvae.training.checkpoint import Checkpoint, CheckpointFolder
from dirvae.training.errors import CheckpointError, TrainingWarning
from dirvae.training.precision import choose_device
from dirvae.training.states import load_model_tensors

__all__ = ["choose_checkpoint", "load_model"]

NETWORKS: dict[str, type[torch.nn.Module]] = {
    "AudioVAE": AudioVAE,
    "MLPVAE": MLPVAE,
    "ResNetVAE": ResNetVAE,
    "VideoVAE": VideoVAE,
}


def load_model(
    run: str | os.PathLike[str],
    *,
    device: str = "cpu",
    which: str | int = "best",
    weights: str | None = None,
    model: torch.nn.Module | None = None,
) -> Any:
    """The model of a run, in evaluation mode, with the weights of a checkpoint: "best", "last" or the number of a step.

    "best" is the checkpoint with the highest held-out bound, or the last one if nothing was evaluated. `weights`:
    the averaged ones, "ema", those that were trained, "raw", or None for averaged ones where the run has any. `model`
    takes the weights if the run's network does not come from this library. A prior that the run fitted after that step
    is the model's `fitted_prior`. Raises `CheckpointError`.
    """
    checkpoint = choose_checkpoint(Path(run), which)
    if model is None:
        model = _rebuild(checkpoint)
    load_model_tensors(model, checkpoint.tensors(weights), origin=str(checkpoint.path))
    attach_fitted_prior(model, Path(run), checkpoint.step)
    return model.to(choose_device(device)).eval()


def choose_checkpoint(run: Path, which: str | int) -> Checkpoint:
    """The checkpoint of a run called "best", "last" or by its step. Raises `CheckpointError`."""
    folder = CheckpointFolder(run / "checkpoints")
    if isinstance(which, int):
        if which not in folder.steps():
            steps = ", ".join(map(str, folder.steps())) or "none"
            raise CheckpointError(f"{run}: no checkpoint of step {which}; there are: {steps}.")
        return folder.open(which)
    if which not in ("best", "last"):
        raise CheckpointError(f"which is {which!r}; it must be 'best', 'last' or a step.")
    newest = folder.newest()
    if newest is None:
        raise CheckpointError(f"{run}: holds no checkpoint. Name the folder of a run.")
    best = newest.state["best"]
    if which == "last" or best is None or best["step"] == newest.step:
        return newest
    try:
        return folder.open(best["step"])
    except CheckpointError as error:
        warnings.warn(f"{error} Taking the last checkpoint instead.", TrainingWarning, stacklevel=2)
        return newest


def _rebuild(checkpoint: Checkpoint) -> torch.nn.Module:
    described = checkpoint.state["model"]
    network = NETWORKS.get(described["network"])
    if network is not None and described["arguments"] is None:
        raise CheckpointError(
            f"{checkpoint.path}: a part of its {described['network']} was given as a module, and a checkpoint "
            "does not hold modules. Build the model in code and pass it as model=."
        )
    if network is None:
        raise CheckpointError(
            f"{checkpoint.path}: its network {described['network']!r} is not one of {', '.join(NETWORKS)}. Build "
            "it and pass it as model=."
        )
    return network(**described["arguments"])
