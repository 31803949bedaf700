"""A loop over what worker processes send: it moves its iterator's state with every batch it hands over."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from ..batching.batch import Batch
from ..batching.iteration import BatchIterator

__all__ = ["Deliveries", "Delivery", "WorkerFailure", "survives_pickle"]


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


class Deliveries(Iterator[Batch]):
    """Batches in the order of `sent`; substitutes are counted here, for a worker knows of its own only.

    The loop is over for good when something else moves the iterator or closes this: going on then is a mistake, and
    says so.
    """

    def __init__(self, iterator: BatchIterator, sent: Iterator[Delivery]) -> None:
        self._iterator = iterator
        self._sent: Iterator[Delivery] | None = sent
        self._state = iterator.state_dict()
        self._superseded = False

    def __next__(self) -> Batch:
        if self._sent is not None and self._iterator.state_dict() != self._state:
            self.supersede()
        if self._superseded:
            raise self._iterator.superseded()
        if self._sent is None:
            raise StopIteration
        try:
            return self._hand_over(next(self._sent))
        except BaseException:
            self._sent = None
            raise

    def _hand_over(self, delivery: Delivery) -> Batch:
        if isinstance(delivery, WorkerFailure):
            raise delivery.error
        batch, failures = delivery
        substituted: Any = np.zeros(1, np.bool_) if batch.substituted is None else batch.substituted
        counted = substituted if batch.mask is None else substituted & np.asarray(batch.mask)
        substitutions = self._state["substitutions"] + int(counted.sum())
        self._iterator.check_substitutions(substitutions)
        self._iterator.list_failures(failures)
        self._state = {**batch.state, "substitutions": substitutions}
        self._iterator.load_state_dict(self._state)
        return batch.replace(state=self._state)

    def supersede(self) -> None:
        """Stop before the end, from outside, and let go of the workers."""
        self._superseded, self._sent = self._sent is not None, None
