"""Whether two worker processes of torch's loaders belong to one pass."""

from __future__ import annotations

import contextlib
import os
from typing import Any

__all__ = ["is_sibling"]


def is_sibling(worker: Any, process: int, seed: int) -> bool:
    """Whether a process is a worker of the same pass as `worker` (torch's `WorkerInfo`, None outside of one).

    It is where it runs, and has the seed that torch drew for the pass.
    """
    with contextlib.suppress(ProcessLookupError):
        if worker is not None and process and seed == worker.seed - worker.id:
            os.kill(process, 0)
            return True
    return False
