"""Packing on a Ray cluster: a task per shard, begun again where it is lost.

    driver                     Ray's worker process, on any node
    task ───────────────────▶  on_node: packs in a child process
         ◀── a number ───────  every second, or more often
         ◀── result ─────────  or exception, at the end

Ray itself repeats nothing. A task whose process or node is gone, or that sends nothing for a minute, is begun again, at
most four times in all. Attempts may overlap: each writes under a different name, and one result is used.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..settings import PackSettings
from ..shard_job import ShardResult, ShardTask, pack_shard
from ..shard_target import FolderTarget
from ..source_reader import PackingStoppedError
from ..writer import shard_name
from .engine import OnFile
from .on_node import Message
from .ray_cluster import AttemptLostError
from .worker_process import Work

__all__ = ["Cluster", "RayEngine"]

Place = TypeVar("Place")
PAUSE_SECONDS = 0.0, 3.0, 15.0
"""Before the second attempt at a task, the third, and the last."""
SILENT_SECONDS = 60.0
LOOK_SECONDS = 1.0


class Cluster(Protocol):
    """What the engine asks of a cluster: see `RayCluster`."""

    def submit(self, work: Work, task: ShardTask) -> Any: ...

    def wait(self, attempts: Sequence[Any], seconds: float) -> list[Any]: ...

    def message(self, attempt: Any) -> Message: ...

    def cancel(self, attempts: Sequence[Any]) -> None: ...

    def kill(self, attempt: Any) -> None: ...


@dataclass
class _Attempt:
    """One try of a task; `heard` is when its last message came (monotonic seconds), None while it waits for a CPU."""

    task: ShardTask
    number: int
    due: float
    heard: float | None = None


class RayEngine:
    """At most `workers` shards at a time, each on a CPU of the cluster."""

    def __init__(
        self,
        cluster: Cluster,
        workers: int,
        *,
        work: Work = pack_shard,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        self._cluster, self._workers = cluster, workers
        self._work, self._silent_seconds = work, silent_seconds

    def begin(self, num_tasks: int) -> None:
        """Nothing to prepare: the cluster runs already."""

    def prepare(self, settings: PackSettings) -> None:
        """Nothing to prepare."""

    def end(self) -> None:
        """Nothing to release."""

    def run(self, tasks: Iterable[ShardTask], on_file: OnFile) -> Iterator[ShardResult]:
        """The result of each task as it is finished; leaving the iteration early cancels those that run."""
        waiting = iter(tasks)
        running: dict[Any, _Attempt] = {}
        lost: list[_Attempt] = []
        try:
            while self._fill(running, waiting, lost) or lost:
                began = time.monotonic()
                for handle in self._cluster.wait(list(running), LOOK_SECONDS) if running else _pause():
                    attempt = running[handle]
                    try:
                        message = self._cluster.message(handle)
                    except AttemptLostError as error:
                        del running[handle]
                        lost.append(_next_attempt(attempt, str(error)))
                        continue
                    attempt.heard = time.monotonic()
                    if isinstance(message, BaseException):
                        raise message
                    if isinstance(message, ShardResult):
                        del running[handle]
                        yield message
                    elif message >= 0:
                        on_file(attempt.task.shard.number, message)
                lost += self._given_up(running, time.monotonic() - began)
        finally:
            self._cluster.cancel(list(running))

    def _fill(self, running: dict[Any, _Attempt], waiting: Iterator[ShardTask], lost: list[_Attempt]) -> bool:
        """Begin tasks while there is room, lost ones first; whether any runs."""
        now = time.monotonic()
        for attempt in [one for one in lost if one.due <= now]:
            if len(running) < self._workers:
                lost.remove(attempt)
                running[self._cluster.submit(self._work, attempt.task)] = attempt
        while len(running) + len(lost) < self._workers and (task := next(waiting, None)) is not None:
            attempt = _Attempt(_absolute(task), 1, now)
            running[self._cluster.submit(self._work, attempt.task)] = attempt
        return bool(running)

    def _given_up(self, running: dict[Any, _Attempt], passed: float) -> list[_Attempt]:
        """Kill attempts that have sent nothing for too long, and return the next ones.

        After a long round (`passed` seconds) this process itself may have been stopped: then all get more time.
        """
        now = time.monotonic()
        again = []
        for handle, attempt in list(running.items()):
            if attempt.heard is None:
                continue
            if passed > 2 * LOOK_SECONDS:
                attempt.heard = now
            elif now - attempt.heard > self._silent_seconds:
                del running[handle]
                self._cluster.kill(handle)
                again.append(
                    _next_attempt(attempt, f"nothing was heard of it for {self._silent_seconds:.0f} seconds")
                )
        return again


def _pause() -> list[Any]:
    time.sleep(LOOK_SECONDS)
    return []


def _next_attempt(attempt: _Attempt, reason: str) -> _Attempt:
    """The next try of a task that was lost, after a pause. Raises `PackingStoppedError` after the last."""
    if attempt.number > len(PAUSE_SECONDS):
        name = shard_name(attempt.task.settings.modality, attempt.task.shard.number)
        raise PackingStoppedError(
            f"{name}: given up after {attempt.number} attempts on the cluster ({reason}). Finished shards are kept; "
            "run the same command again."
        )
    return _Attempt(attempt.task, attempt.number + 1, time.monotonic() + PAUSE_SECONDS[attempt.number - 1])


def _absolute(task: ShardTask) -> ShardTask:
    """The task for processes in other working folders."""
    target = task.target
    if isinstance(target, FolderTarget):
        target = FolderTarget(target.folder.absolute(), target.out.absolute())
    return replace(task, source=_full(task.source), target=target, records=_full(task.records))


def _full(place: Place) -> Place:
    """A path from the root; a URL, or None, as it is."""
    return place.absolute() if isinstance(place, Path) else place
