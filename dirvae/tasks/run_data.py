"""What a run is evaluated on: the images that it held out and those that it trained on, of the data that it saw."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dirvae.training.checkpoint import Checkpoint
from dirvae.training.config import TrainConfig
from dirvae.training.feed import to_device
from pipelines import ImageIterator, StateError, hold_out, open_source
from pipelines.sources import Selection

__all__ = ["Examples", "RunData", "open_run_data"]


@dataclass(frozen=True, eq=False)
class Examples:
    """Images (num, channel, height, width) in [0, 1] on the CPU, and the JSON object beside each, None without one."""

    data: Tensor
    fields: list[dict[str, Any] | None]


@dataclass(frozen=True, eq=False)
class RunData:
    """The two parts of a run's data; `held_out` is None where the run held nothing out.

    `appended`: examples that were appended since the checkpoint was written, which are in neither part.
    """

    trained_on: Examples
    held_out: Examples | None
    appended: int

    @property
    def tested(self) -> Examples:
        """The images that the model is measured on."""
        return self.trained_on if self.held_out is None else self.held_out

    def fields(self) -> list[dict[str, Any] | None]:
        """The JSON objects of all examples: those trained on, and after them those held out."""
        return [*self.trained_on.fields, *([] if self.held_out is None else self.held_out.fields)]


def open_run_data(
    settings: TrainConfig, checkpoint: Checkpoint, *, source: str | None, limit: int, seed: int
) -> RunData:
    """The first `limit` examples of each part in a fixed order, divided as they were for the training.

    The data may lie elsewhere (`source`), but it must be what the checkpoint's iterator saw: other data is divided
    elsewhere, and images that were trained on would pass for held out. Of data that only grew, what was appended is
    left out. Raises `StateError` for other data.
    """
    whole = open_source(source if source is not None else settings.source)
    trained_on, held_out = whole, None
    if settings.held_out is not None:
        trained_on, held_out = hold_out(whole, settings.held_out, seed=settings.seed)
    seen = _count_seen(trained_on, checkpoint)
    appended = 0
    if seen < len(trained_on):
        num_shards = int(np.searchsorted(np.cumsum(trained_on.shard_counts), seen)) + 1
        appended = len(whole) - int(whole.shard_counts[:num_shards].sum())
        trained_on = Selection(trained_on, range(seen))
        if held_out is not None:
            held_out = Selection(held_out, range(int(held_out.shard_counts[:num_shards].sum())))
    return RunData(
        _examples(trained_on, settings, limit, seed),
        None if held_out is None else _examples(held_out, settings, limit, seed),
        appended,
    )


def _count_seen(trained_on: Any, checkpoint: Checkpoint) -> int:
    """How many examples the checkpoint's run trained on, once these are found to begin with the same ones."""
    state = checkpoint.state["feed"]["iterator"]
    if not isinstance(state, dict) or not {"examples", "data_hash"} <= state.keys():
        raise StateError(
            f"{checkpoint.path}: does not say what data it saw, so none is known to be held out. Train with "
            "dirvae.train, or call estimate_likelihood with data of your own."
        )
    seen = int(state["examples"])
    if seen > len(trained_on) or trained_on.prefix_hash(seen) != state["data_hash"]:
        raise StateError(
            f"{trained_on.name}: holds other data than the {seen:,} examples that {checkpoint.path} was trained on "
            f"({len(trained_on):,} here), so images of its training would pass for held out. Restore the data, or "
            "name where it lies now with --source."
        )
    return seen


def _examples(source: Any, settings: TrainConfig, limit: int, seed: int) -> Examples:
    looks: dict[str, Any] = {
        "size": settings.size,
        "batch_size": settings.batch_size,
        "on_error": settings.on_error,
    }
    iterator = ImageIterator(source, shuffle=True, seed=seed, fields=("json",), tail="keep", **looks)
    data: list[Tensor] = []
    fields: list[Any] = []
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*no example of the first batch has a field 'json'")
            for batch in iterator:
                data.append(to_device(batch.data, torch.device("cpu")))
                fields += batch.fields["json"]
                if len(fields) >= limit:
                    break
    finally:
        iterator.close()
    objects = [entry if isinstance(entry, dict) else None for entry in fields[:limit]]
    return Examples(torch.cat(data)[:limit], objects)
