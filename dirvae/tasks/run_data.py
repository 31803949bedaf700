"""What a run is evaluated on: the examples that it held out and those that it trained on, of the data that it saw."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dirvae.tasks.data import DataSettings, ReplayedBatches, divide_source
from dirvae.tasks.example_factors import FIELDS, annotated_categories, example_factors, without_field_warnings
from dirvae.tasks.seen_data import count_seen, says_what_it_saw
from dirvae.tasks.task import Task
from dirvae.training.checkpoint import Checkpoint
from dirvae.training.feed import to_device
from pipelines import StateError
from pipelines.sources import Selection

__all__ = ["Examples", "RunData", "open_run_data"]

MOST_EXAMPLES = 2000
MOST_VALUES = 1 << 27
"""Of the examples of a part, in all: 512 MiB as float32."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples (num, channel, *dims) as float32 on the CPU, and the factors of each, None without any.

    Factors are what is plain in its JSON object, and the number of its class under "class"; `categories` are those that
    it has annotations of, None where it is not annotated.

    `lengths` (num,) are how much of each is not padding; None for examples that have none.
    """

    data: Tensor
    fields: list[dict[str, Any] | None]
    categories: list[frozenset[str] | None]
    lengths: Tensor | None = None


@dataclass(frozen=True, eq=False)
class RunData:
    """The two parts of a run's data; `held_out` is None where the run held nothing out.

    `appended`: examples that were appended since the checkpoint was written, which are in neither part. `batches` are
    those of the part that the model is measured on, all of it, in the order of the examples.
    """

    trained_on: Examples
    held_out: Examples | None
    appended: int
    batches: ReplayedBatches

    @property
    def tested(self) -> Examples:
        """The examples that the model is measured on."""
        return self.trained_on if self.held_out is None else self.held_out

    def fields(self) -> list[dict[str, Any] | None]:
        """The JSON objects of all examples: first those trained on, then those held out."""
        return [*self.trained_on.fields, *([] if self.held_out is None else self.held_out.fields)]

    def categories(self) -> list[frozenset[str] | None]:
        """The categories of the annotations of all examples, in the same order."""
        return [*self.trained_on.categories, *([] if self.held_out is None else self.held_out.categories)]


def open_run_data(
    task: Task,
    settings: DataSettings,
    checkpoint: Checkpoint,
    *,
    divided_by: int,
    source: str | None,
    limit: int | None,
    seed: int,
) -> RunData:
    """The first `limit` examples of each part in a fixed order, divided as they were for the training.

    None: 2,000, or fewer where these are so large that they would take more than 512 MiB.

    `divided_by` is the seed of the training, by which the data was divided, `seed` that of the order. The data may
    have moved (to `source`), but it must be the data that the checkpoint's iterator read: other data is divided
    differently, and examples of the training would be mistaken for held-out ones. If data was only appended, the new
    examples are left out. Raises `StateError` for other data.
    """
    whole, trained_on, held_out = divide_source(settings, modality=task.name, seed=divided_by, source=source)
    seen = _count_seen(trained_on, checkpoint, task)
    appended = 0
    if seen < len(trained_on):
        num_shards = int(np.searchsorted(np.cumsum(trained_on.shard_counts), seen)) + 1
        appended = len(whole) - int(whole.shard_counts[:num_shards].sum())
        trained_on = Selection(trained_on, range(seen))
        if held_out is not None:
            held_out = Selection(held_out, range(int(held_out.shard_counts[:num_shards].sum())))

    def batches(part: Any, *fields: str) -> ReplayedBatches:
        return ReplayedBatches(
            part,
            lambda: task.open_iterator(
                part,
                settings,
                shuffle=True,
                shuffle_shards=settings.shuffle_shards,
                seed=seed,
                fields=fields,
                tail="keep",
            ),
        )

    seen_part = _read_examples(batches(trained_on, *FIELDS), limit)
    if held_out is None:
        return RunData(seen_part, None, appended, batches(trained_on))
    return RunData(seen_part, _read_examples(batches(held_out, *FIELDS), limit), appended, batches(held_out))


def _count_seen(trained_on: Any, checkpoint: Checkpoint, task: Task) -> int:
    """How many examples the checkpoint's run trained on, after a check that the data begins with the same ones."""
    state = checkpoint.state["feed"]["iterator"]
    if not says_what_it_saw(state):
        raise StateError(
            f"{checkpoint.path}: does not say what data it saw, so it is unknown which examples were held out. Train "
            "with dirvae.train, or call estimate_likelihood with data of your own."
        )
    seen = count_seen(trained_on, state)
    if seen is None:
        raise StateError(
            f"{trained_on.name}: holds other data than the {int(state['examples']):,} examples that "
            f"{checkpoint.path} was trained on ({len(trained_on):,} {task.plural} here), so {task.plural} of its "
            "training would pass for held out. Restore the data, or name its new place with --source."
        )
    return seen


def _read_examples(batches: ReplayedBatches, limit: int | None) -> Examples:
    data: list[Tensor] = []
    fields: list[dict[str, Any] | None] = []
    categories: list[frozenset[str] | None] = []
    lengths: list[Tensor] = []
    are_padded = False
    most = MOST_EXAMPLES if limit is None else limit
    with without_field_warnings(), contextlib.closing(iter(batches)) as opened:
        for batch in opened:
            data.append(to_device(batch.data, torch.device("cpu")))
            fields += map(example_factors, batch.fields["json"], batch.fields["cls"])
            categories += map(annotated_categories, batch.fields["json"])
            are_padded = are_padded or batch.lengths is not None
            whole = torch.full((len(batch.data),), batch.data.shape[-1])
            lengths.append(whole if batch.lengths is None else torch.as_tensor(batch.lengths))
            if limit is None:
                most = min(MOST_EXAMPLES, max(1, MOST_VALUES // data[0][0].numel()))
            if len(fields) >= most:
                break
    return Examples(
        torch.cat(data)[:most],
        fields[:most],
        categories[:most],
        torch.cat(lengths)[:most] if are_padded else None,
    )
