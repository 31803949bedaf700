"""Encoding the batches of a set, in stored order, into rows of arrays."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from dirvae.encoding.batch_rows import RowArray, field_rows, key_rows, posterior_rows
from dirvae.run.config import RunConfig
from dirvae.run.encode_config import EncodeConfig
from dirvae.seeding import example_seeds
from dirvae.tasks import Task
from dirvae.tasks.data import DataSettings, divide_source
from dirvae.tasks.posteriors import posteriors_of
from dirvae.training.checkpoint import Checkpoint
from dirvae.training.errors import CheckpointError
from dirvae.training.precision import choose_device

__all__ = ["Rows", "SetEncoder"]

CLIPS = ("audio", "video")
"""Types of runs whose examples have a length."""

Rows = dict[str, RowArray]


class SetEncoder:
    """Reads a set in stored order and encodes it batch by batch into rows; `close` ends its threads."""

    def __init__(self, model: nn.Module, settings: RunConfig, checkpoint: Checkpoint, config: EncodeConfig) -> None:
        self.model, self.task, self.checkpoint, self.config = model, settings.task, checkpoint, config
        self.device = choose_device(config.device)
        self.data = _reading(settings.data, config)
        self.source, _, _ = divide_source(self.data, modality=self.task.name, seed=0, source=config.source)
        self.iterator = _open(self.task, self.source, self.data, config)
        self.num = len(self.iterator.source)

    def close(self) -> None:
        """End the threads that read."""
        self.iterator.close()

    def from_position(self, position: int) -> Generator[Rows, None, None]:
        """The rows of every batch from a position on."""
        if position < self.num:
            self.iterator.reset(position=position)
            for batch in self.iterator:
                yield self.rows(batch, position)
                position += len(batch)

    @torch.inference_mode()
    def rows(self, batch: Any, position: int) -> Rows:
        """The rows of the batch that begins at a position. Raises `CheckpointError` for numbers that are not finite."""
        posteriors = posteriors_of(self.task, self.model, self.data, batch, self.device)
        places = np.arange(position, position + len(batch))[:, None]
        found = posterior_rows(
            posteriors, samples=self.config.samples, seeds=example_seeds(self.config.seed, places)
        )
        if not all(np.isfinite(one.values).all() for one in found.values()):
            raise CheckpointError(
                f"{self.checkpoint.path}: its model encodes {self.task.examples} from {batch.keys[0]!r} on as numbers "
                "that are not finite. Choose another checkpoint with --which, or train again."
            )
        return {
            **found,
            **key_rows(batch, are_clips=self.task.name in CLIPS),
            **field_rows(batch, self.config.fields),
        }


def _reading(settings: DataSettings, config: EncodeConfig) -> DataSettings:
    threads = settings.threads if config.threads is None else config.threads
    return replace(settings, batch_size=config.batch_size, on_error=config.on_error, held_out=None, threads=threads)


def _open(task: Task, source: Any, data: DataSettings, config: EncodeConfig) -> Any:
    return task.open_iterator(source, data, shuffle=False, tail="keep", fields=config.fields, rank=0, world_size=1)
