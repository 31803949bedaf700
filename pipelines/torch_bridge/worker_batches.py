"""A loop over what worker processes send."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from ..batching.batch import Batch
from ..batching.iteration import BatchIterator, BatchLoop

__all__ = ["Delivery", "WorkerFailure", "WorkerLoop", "survives_pickle"]


@dataclass(frozen=True)
class WorkerFailure:
    """The last thing a worker sends."""

    error: Exception

    @classmethod
    def of(cls, error: Exception, worker: int) -> WorkerFailure:
        """The failure of a worker, with that worker's traceback as a note."""
        error.add_note(f"in DataLoader worker {worker}:\n{''.join(traceback.format_exception(error))}")
        return cls(error)


def survives_pickle(error: Exception) -> bool:
    """Whether an exception is of the same kind on the other side of a pipe."""
    with contextlib.suppress(Exception):
        return type(ForkingPickler.loads(ForkingPickler.dumps(error))) is type(error)
    return False


Delivery = tuple[Batch, str] | WorkerFailure
"""What a worker sends: a batch and the lines of its quarantine, or what it raised."""


class WorkerLoop(BatchLoop):
    """Batches in the order of `sent`; substitutes are counted here, for a worker knows of its own only."""

    def __init__(self, owner: BatchIterator, sent: Iterator[Delivery]) -> None:
        super().__init__(owner)
        self._sent: Iterator[Delivery] | None = sent
        self._state = owner.state_dict()

    def _is_overtaken(self) -> bool:
        return self._owner.state_dict() != self._state

    def _take(self) -> Batch:
        assert self._sent is not None
        delivery = next(self._sent)
        if isinstance(delivery, WorkerFailure):
            raise delivery.error
        batch, failures = delivery
        substituted: Any = np.zeros(1, np.bool_) if batch.substituted is None else batch.substituted
        counted = substituted if batch.mask is None else substituted & np.asarray(batch.mask)
        substitutions = self._state["substitutions"] + int(counted.sum())
        self._owner.check_substitutions(substitutions)
        self._owner.list_failures(failures)
        self._state = {**batch.state, "substitutions": substitutions}
        self._owner.load_state_dict(self._state)
        return batch.replace(state=self._state)

    def _let_go(self) -> None:
        self._sent = None
