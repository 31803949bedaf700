"""An exception on its way from a worker process to the consumer, which raises it as itself."""

from __future__ import annotations

import contextlib
import traceback
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler

__all__ = ["WorkerFailure", "survives_pickle"]


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
