"""Packing in several processes of this machine, which are watched over.

    parent                                    worker
    task ────────────────────────────────────▶  pack_shard
         ◀ ─ ─ ─ number of each file ─ ─ ─ ─ ─  in shared memory, before it is opened
         ◀────── result, or exception ─────────  at the end

When a worker dies, the number of its current file is still in the shared memory. The shard is tried once more as it
was (the machine may have been short of memory); a file that ends a second worker is left out as a failure. Workers
never touch a finished shard, end with their parent, and leave Ctrl-C to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ..source_reader import PackingStoppedError
from .worker_process import Work, WorkerProcess

if TYPE_CHECKING:
    from ..settings import PackSettings
    from ..shard_job import ShardResult, ShardTask
    from .engine import OnFile
    from .shared_heads import SharedHeads

__all__ = ["ProcessEngine"]

LOOK_SECONDS = 0.05
"""How often the progress of the workers is read."""

Crashes: TypeAlias = Counter[tuple[int, int]]


class ProcessEngine:
    """`workers` processes, a shard at a time each."""

    def __init__(self, workers: int, *, work: Work | None = None) -> None:
        self.workers, self._work = workers, work
        self._idle: list[WorkerProcess] = []

    def begin(self, num_tasks: int) -> None:
        """Start the workers, which import what they need while this process does something else."""
        while len(self._idle) < min(self.workers, num_tasks):
            self._idle.append(WorkerProcess(self._work))

    def prepare(self, settings: PackSettings) -> None:
        """Have the workers that have started import what these settings need."""
        for worker in self._idle:
            worker.prepare(settings)

    def heads(self, folder: Path) -> SharedHeads:
        """A reader of the first bytes of files, with the help of the workers that have started."""
        from .shared_heads import SharedHeads

        return SharedHeads(folder, self._idle)

    def end(self) -> None:
        """End workers that got no task."""
        while self._idle:
            self._idle.pop().kill()

    def _worker(self, task: ShardTask) -> WorkerProcess:
        """A worker at a task."""
        worker = self._idle.pop() if self._idle else WorkerProcess(self._work)
        try:
            worker.give(task)
        except BaseException:
            worker.kill()
            raise
        return worker

    def run(self, tasks: Iterable[ShardTask], on_file: OnFile) -> Iterator[ShardResult]:
        """The result of each task as it is finished; leaving the iteration early ends the workers."""
        waiting = iter(tasks)
        crashes: Crashes = Counter()
        workers: list[WorkerProcess] = []
        try:
            for task in islice(waiting, self.workers):
                workers.append(self._worker(task))
            while workers:
                ready = wait([worker.connection for worker in workers], LOOK_SECONDS)
                for worker in workers:
                    if (file := worker.new_file()) is not None:
                        on_file(worker.task.shard.number, file)
                for connection in ready:
                    worker = next(worker for worker in workers if worker.connection is connection)
                    message = worker.receive()
                    if isinstance(message, BaseException):
                        raise message
                    if message is None:
                        task_again = _task_after_crash(worker, crashes)
                        workers.remove(worker)
                        worker.kill()
                        workers.append(self._worker(task_again))
                        continue
                    if (task_after := next(waiting, None)) is not None:
                        worker.give(task_after)
                    else:
                        worker.dismiss()
                        workers.remove(worker)
                    yield message
        finally:
            for worker in workers:
                worker.kill()
            self.end()


def _task_after_crash(worker: WorkerProcess, crashes: Crashes) -> ShardTask:
    """What to do next about the shard of a dead worker. Raises `PackingStoppedError` if nothing helps."""
    how, file = worker.how_it_ended, -1 if worker.file is None else worker.file
    crashes[worker.task.shard.number, file] += 1
    is_second = crashes[worker.task.shard.number, file] > 1
    if file < 0 and (is_second or not worker.has_begun):
        raise PackingStoppedError(
            f"A worker process ended before it had read a file ({how}). Use workers=0 to pack in this process, which "
            "shows the error."
        )
    return worker.task.without(file, f"its reader crashed ({how})") if is_second else worker.task
