"""The first bytes of files, read by this process and by workers that have no task yet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from ...storage.heads import HeadsTask, LocalHeads
from ...storage.media_types import searched_names
from .worker_process import WorkerProcess

__all__ = ["SharedHeads"]

LEAST_SHARED = 256
"""This process reads fewer files alone."""


class SharedHeads(LocalHeads):
    """Reads the heads of files below a folder, inside a `with`. Dead workers are removed from the list."""

    def __init__(self, folder: Path, workers: list[WorkerProcess]) -> None:
        super().__init__(folder)
        self._workers = workers

    def read(self, paths: Sequence[str], sizes: Sequence[int]) -> list[bytes | str]:
        """Of each file its first bytes, or why they cannot be read: a part by this process, one by each idle worker."""
        ready = [worker for worker in self._workers if worker.is_ready]
        if not ready or len(paths) < LEAST_SHARED:
            return super().read(paths, sizes)
        num = len(ready) + 1
        stops = [len(paths) * part // num for part in range(num + 1)]
        own, *parts = [paths[start:stop] for start, stop in pairwise(stops)]
        searched, asked = searched_names(), list(zip(ready, parts, strict=True))
        for worker, part in asked:
            worker.ask(HeadsTask(self._folder, part, searched))
        found = super().read(own, ())
        for worker, part in asked:
            if (answer := worker.answer()) is None:
                self._workers.remove(worker)
                worker.kill()
            found += answer if answer and len(answer) == len(part) else super().read(part, ())
        return found
