"""The posteriors of a batch, by level, for any type of run."""

from __future__ import annotations

from typing import Any

import torch

from dirvae.latents.latent import Posterior
from dirvae.levels import has_map
from dirvae.tasks.data import DataSettings
from dirvae.tasks.task import Task
from dirvae.training.feed import to_device

__all__ = ["posteriors_of"]


def posteriors_of(
    task: Task, model: Any, settings: DataSettings, batch: Any, device: torch.device
) -> dict[str, Posterior]:
    """The posteriors of a batch of `pipelines`, by level: "" is the latent of the model, "map" its second level."""
    if task.posterior is not None:
        return {"": task.posterior(model, settings, batch)}
    x = to_device(batch.data, device)
    if not has_map(model):
        return {"": model.encode(x)}
    levels = model.encode_levels(x)
    return {"": levels.vector, "map": levels.map}
