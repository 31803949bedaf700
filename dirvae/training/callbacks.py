"""Functions of the caller's that a `Trainer` calls after a step, an evaluation or a checkpoint.

>>> def show(moment):
...     print(moment.step, moment.evaluation["psnr_db"])
>>> callbacks = Callbacks(after_evaluation=show)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

__all__ = ["Callback", "Callbacks", "Moment"]

_NONE: Mapping[str, Tensor] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where a training is, to read and not to change.

    `step` updates of `total_steps` are done, the last one at `learning_rate`. `terms` are the scalars of the step,
    without gradients, on the device: reading one makes the host wait for a GPU. `evaluation` is that of this step, None
    where there was none; `best` the step and value of the best one so far. `checkpoint` is the folder that was written,
    None before that.
    """

    step: int
    total_steps: int
    epoch: int
    learning_rate: float
    terms: Mapping[str, Tensor] = field(default_factory=lambda: _NONE)
    evaluation: Mapping[str, Any] | None = None
    best: Mapping[str, Any] | None = None
    checkpoint: Path | None = None


Callback = Callable[[Moment], None]


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """What to call, and when; None: nothing. An error in a function ends the training like one of its own.

    `after_step`: after every update, skipped ones included. `after_evaluation`: after each evaluation within `fit`.
    `after_checkpoint`: after each checkpoint that was written.
    """

    after_step: Callback | None = None
    after_evaluation: Callback | None = None
    after_checkpoint: Callback | None = None

    def __post_init__(self) -> None:
        """Raise `TypeError` for what cannot be called."""
        for entry in fields(self):
            given = getattr(self, entry.name)
            if given is not None and not callable(given):
                raise TypeError(
                    f"{entry.name} is {given!r}; it must be one function of a Moment, which can call several others."
                )
