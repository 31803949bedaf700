"""The time of training steps, and the synchronisations in them, from within `Trainer.fit`."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from gpu_parts.machine import IS_CUDA, now

WARM_UP_STEPS, COUNTED_STEPS = (10, 10) if IS_CUDA else (1, 0)
TIMED_STEPS, TIMED_SECONDS = (5, 1.5) if IS_CUDA else (1, 0.3)


class Stopwatch:
    """Given to `Trainer.fit` as `should_stop`: warms up, then times steps, then counts synchronisations in some.

    `take_wait_seconds`: how long was waited for data since it was last asked.
    """

    def __init__(self, take_wait_seconds: Callable[[], float] = lambda: 0.0) -> None:
        self.calls, self.timed, self.seconds, self.wait_seconds = 0, 0, 0.0, 0.0
        self.warm_up_seconds = 0.0
        self.synchronisations: list[str] | None = None
        self._take_wait_seconds = take_wait_seconds
        self._made, self._began = time.perf_counter(), 0.0
        self._counting = ExitStack()

    def __call__(self) -> bool:
        self.calls += 1
        if not self._began:
            if self.calls > WARM_UP_STEPS:
                self._began = now()
                self.warm_up_seconds = self._began - self._made
                self._take_wait_seconds()
            return False
        if not self.seconds:
            self.timed += 1
            if self.timed % TIMED_STEPS == 0 and (elapsed := now() - self._began) > TIMED_SECONDS:
                self.seconds, self.wait_seconds, self.calls = elapsed, self._take_wait_seconds(), 0
                self._count()
            return bool(self.seconds) and not COUNTED_STEPS
        if self.calls < COUNTED_STEPS:
            return False
        self.close()
        return True

    def close(self) -> None:
        """End the counting, also where a step has failed."""
        self._counting.close()

    def found(self, batch_size: int) -> dict[str, Any]:
        """What was measured, as JSON values."""
        counted = self.synchronisations
        return {
            "batch_size": batch_size,
            "examples_per_second": self.timed * batch_size / self.seconds,
            "wait_share": self.wait_seconds / self.seconds,
            "warm_up_seconds": self.warm_up_seconds,
            "syncs_per_step": None if counted is None else len(counted) / COUNTED_STEPS,
            "sync_places": sorted(set(counted or ())),
        }

    def _count(self) -> None:
        if not COUNTED_STEPS:
            return
        found = self._counting.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        self._counting.callback(torch.cuda.set_sync_debug_mode, "default")
        self._counting.callback(self._note, found)

    def _note(self, found: list[warnings.WarningMessage]) -> None:
        self.synchronisations = [
            f"{Path(one.filename).name}:{one.lineno}"
            for one in found
            if "called a synchronizing" in str(one.message)
        ]
