"""What files begin with, read by workers that have nothing to pack yet, and by this process beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from ...storage.heads import HeadsTask, LocalHeads
from ...storage.media_types import searched_names
from .worker_process import WorkerProcess

__all__ = ["SharedHeads"]

LEAST_SHARED = 256
"""Fewer files are not worth asking others."""


class SharedHeads:
    """Reads the heads of files below a folder, inside a `with`; see `HeadReader`. Dead workers are left out."""

    def __init__(self, folder: Path, workers: list[WorkerProcess]) -> None:
        self._folder, self._workers = folder, workers
        self._own = LocalHeads(folder)

    def __enter__(self) -> SharedHeads:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._own.__exit__(kind, error, trace)

    def read(self, paths: Sequence[str], sizes: Sequence[int]) -> list[bytes | str]:
        """Of each file its first bytes, or why they cannot be read."""
        ready = [worker for worker in self._workers if worker.is_ready]
        num = len(ready) + 1
        if num == 1 or len(paths) < LEAST_SHARED:
            return self._own.read(paths, sizes)
        stops = [len(paths) * part // num for part in range(1, num + 1)]
        parts = [paths[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]
        searched, asked = searched_names(), list(zip(ready, parts[1:], strict=True))
        for worker, part in asked:
            worker.ask(HeadsTask(str(self._folder), part, searched))
        found = self._own.read(parts[0], ())
        for worker, part in asked:
            if (answer := worker.answer()) is None:
                self._workers.remove(worker)
                worker.kill()
            found += answer if answer and len(answer) == len(part) else self._own.read(part, ())
        return found
