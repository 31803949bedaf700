"""The two halves of a data set: batches to train on, and the same held-out examples again and again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dirvae.training.config import TrainConfig
from pipelines import ImageIterator, hold_out, open_source

__all__ = ["ReplayedBatches", "TrainingData", "open_training_data"]


class ReplayedBatches:
    """Batches of a source from its beginning each time they are iterated, however the last iteration ended."""

    def __init__(self, source: Any, **settings: Any) -> None:
        self.source = source
        self._settings = settings

    def __len__(self) -> int:
        return -(-len(self.source) // int(self._settings["batch_size"]))

    def __iter__(self) -> Iterator[Any]:
        iterator = ImageIterator(self.source, **self._settings)
        try:
            yield from iterator
        finally:
            iterator.close()


@dataclass(frozen=True)
class TrainingData:
    """`batches` to train on, the same training examples replayed for their mean, and the held-out ones, or None.

    `facts` are what a report says of the data: source, examples, shards, hash, and how they were divided.
    """

    batches: ImageIterator
    training: ReplayedBatches
    held_out: ReplayedBatches | None
    facts: dict[str, Any]

    def close(self) -> None:
        """Let go of threads and files."""
        self.batches.close()


def open_training_data(config: TrainConfig, *, quarantine: str | os.PathLike[str] | None = None) -> TrainingData:
    """Open and divide the data of a config. Raises `PipelineError` for bad data, or too little of it.

    What could not be decoded while training is listed in the file `quarantine`.
    """
    whole = open_source(config.source)
    train, held_out = whole, None
    if config.held_out is not None:
        train, held_out = hold_out(whole, config.held_out, seed=config.seed)
    looks: dict[str, Any] = {
        "size": config.size,
        "batch_size": config.batch_size,
        "threads": config.threads,
        "on_error": config.on_error,
    }
    batches = ImageIterator(
        train, shuffle=True, seed=config.seed, flip=config.flip, tail="keep", quarantine=quarantine, **looks
    )
    facts = {
        "source": config.source,
        "examples": len(whole),
        "training_examples": len(train),
        "held_out_examples": 0 if held_out is None else len(held_out),
        "shards": len(whole.shard_counts),
        "data_hash": whole.data_hash,
    }
    return TrainingData(
        batches=batches,
        training=ReplayedBatches(train, shuffle=True, seed=config.seed, **looks),
        held_out=None if held_out is None else ReplayedBatches(held_out, shuffle=False, seed=0, **looks),
        facts=facts,
    )
