"""JSON in memory that a process and those it starts share: written by one at a time, read by all."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Note", "SharedBytes", "is_sibling"]

HEADER_BYTES = 12


class SharedBytes(Protocol):
    """What lends its memory as an array, such as a tensor in shared memory."""

    def numpy(self) -> NDArray[np.uint8]:
        """The memory itself: (bytes,) uint8."""


class Note:
    """A note in shared memory. A reader that meets a writer half way reads again."""

    def __init__(self, memory: SharedBytes, **content: Any) -> None:
        self._memory = memory
        self.write(**content)

    def write(self, **content: Any) -> None:
        """Replace the content. Raises `ValueError` for more than fits."""
        message = np.frombuffer(json.dumps(content).encode(), np.uint8)
        memory = self._memory.numpy()
        if len(message) + HEADER_BYTES > len(memory):
            raise ValueError(f"a state of {len(message):,} bytes does not fit; mix fewer sources.")
        header = memory[:HEADER_BYTES].view(np.uint32)  # writings begun, writings ended, bytes
        header[0] += 1
        header[2] = len(message)
        memory[HEADER_BYTES : HEADER_BYTES + len(message)] = message
        header[1] += 1

    def read(self) -> dict[str, Any]:
        """The content, whole."""
        memory = self._memory.numpy()
        header = memory[:HEADER_BYTES].view(np.uint32)
        while True:
            ended, length = int(header[1]), int(header[2])
            message = memory[HEADER_BYTES : HEADER_BYTES + length].tobytes()
            if int(header[0]) == ended:
                return dict(json.loads(message))
            time.sleep(0)


def is_sibling(worker: Any, process: int, seed: int) -> bool:
    """Whether a process is a worker of the same pass as `worker` (torch's `WorkerInfo`, None outside of one).

    It is where it runs, and has the seed that torch drew for the pass.
    """
    with contextlib.suppress(ProcessLookupError):
        if worker is not None and process and seed == worker.seed - worker.id:
            os.kill(process, 0)
            return True
    return False
