"""How long packing takes, by packing a sample of the files for about two seconds, into a folder for temporary files.

The sample goes through the engine that packs the set, with as many workers. Files are taken evenly over the sizes,
in tasks of 1, 3, 9, 27 … files for each worker, so that few are read where each takes long. What is measured is

    the start     until a worker has packed its first file: its process, and what it imports
    the work      from file to file, as bytes per second of one worker; a file counts as some more bytes than it has
    the end       from the last file of a task until its shard is on the disk
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .attached_records import open_store
from .engines import Engine
from .foretelling import annotated_bytes
from .plan import PlannedFile, PlannedFiles, PlannedShard
from .shard_content import END_OF_ARCHIVE
from .shard_job import ShardResult, ShardTask
from .shard_target import FolderTarget
from .temporary_disk import temporary_folder

__all__ = ["SampleTimes", "sample_times"]

FILE_BYTES = 48 << 10
"""To open a file, look at it and write its header takes about as long as to copy this many more bytes."""
BUDGET_SECONDS, MOST_TASK_BYTES, TASK_SIZES = 2.0, 64 << 20, (1, 3, 9, 27, 81, 243, 729, 2187)
LARGE_SHARD = 8 << 20


@dataclass(frozen=True)
class SampleTimes:
    """What a sample of `files` files tells: seconds, bytes per second of a worker, and the bytes that were made.

    `made_bytes` are the bytes of the examples of the sample, `foretold_bytes` the forecast of these bytes.
    """

    files: int
    start_seconds: float
    worker_bytes_per_second: float
    end_seconds: float
    end_bytes: int
    made_bytes: int
    foretold_bytes: int

    @property
    def is_as_foretold(self) -> bool:
        """Whether the sample was packed into exactly the bytes that were foretold."""
        return self.made_bytes == self.foretold_bytes

    @property
    def size_ratio(self) -> float:
        """Bytes that were made for each one foretold; 1 where nothing was made."""
        return self.made_bytes / self.foretold_bytes if self.foretold_bytes else 1.0

    def seconds(self, files: PlannedFiles, num_shards: int, made_bytes: float, workers: int) -> float:
        """Seconds for these files in so many shards of `made_bytes` together."""
        if not num_shards:
            return 0.0
        weight = int(files.columns.sizes.sum()) + len(files) * FILE_BYTES
        one = weight / self.worker_bytes_per_second / num_shards
        if self.end_bytes >= LARGE_SHARD:
            one += self.end_seconds * made_bytes / num_shards / self.end_bytes
        else:
            one += self.end_seconds
        rounds = -(-num_shards // max(1, workers))
        return self.start_seconds + rounds * one


@dataclass
class _TaskTimes:
    """A task: which files were seen to be begun, and when; when it was finished, and the seconds of its result."""

    files: Sequence[PlannedFile]
    begun: list[tuple[int, float]] = field(default_factory=list)
    finished: float | None = None
    seconds: tuple[float, float] = (0.0, 0.0)

    def packed(self) -> tuple[int, float]:
        """The weight of the files of which it is known how long they took, and their seconds."""
        if self.finished is not None:
            return sum(map(_weight, self.files)), self.seconds[0]
        if len(self.begun) < 2:
            return 0, 0.0
        (first, began), (last, ended) = self.begun[0], self.begun[-1]
        return sum(map(_weight, self.files[first:last])), ended - began

    @property
    def num_files(self) -> int:
        """Files that were packed."""
        return len(self.files) if self.finished is not None else self.begun[-1][0] if self.begun else 0


class _EnoughError(Exception):
    """The sample has been measured for long enough."""


def sample_times(task: ShardTask, files: PlannedFiles, engine: Engine, workers: int) -> SampleTimes:
    """Pack a sample of `files`. `task` is one of those that pack them, for its source, settings and annotations.

    Raises as packing does.
    """
    lanes = max(1, workers)
    clock = _Clock(lanes)
    store = None if task.records is None else open_store(task.records)
    foretold = made = 0
    with temporary_folder() as scratch:
        tasks = [
            replace(
                task,
                shard=PlannedShard.of(number, chosen),
                target=FolderTarget(scratch, scratch),
                crashed={},
            )
            for number, chosen in enumerate(_tasks_of(files, lanes))
        ]
        for one in tasks:
            clock.tasks[one.shard.number] = _TaskTimes(one.shard.files)
        try:
            for result in engine.run(tasks, clock.on_file):
                clock.on_result(result)
                chosen = tasks[result.number].shard.files
                failed = {failure.path for failure in result.failures}
                packed = [planned for planned in chosen if planned.file.path not in failed]
                foretold += sum(annotated_bytes(packed, task.source, store))
                made += max(0, result.summary.bytes - len(END_OF_ARCHIVE))
                shutil.rmtree(scratch / result.attempt, ignore_errors=True)
                clock.check()
        except _EnoughError:
            pass
    return clock.times(made, foretold)


def _tasks_of(files: PlannedFiles, lanes: int) -> Iterator[tuple[PlannedFile, ...]]:
    """Files of a sample, in tasks that grow, as many of a size as there are workers."""
    order = np.argsort(files.columns.sizes, kind="stable")
    num = min(len(files), lanes * sum(TASK_SIZES))
    chosen = order[(np.arange(num) * len(files) + len(files) // 2) // max(1, num)] if num else order
    waiting = iter(files.only(np.random.Generator(np.random.Philox(0)).permutation(chosen)))
    for size in TASK_SIZES:
        for _ in range(lanes):
            task, filled = list[PlannedFile](), 0
            while len(task) < size and filled < MOST_TASK_BYTES and (planned := next(waiting, None)) is not None:
                task.append(planned)
                filled += planned.file.size
            if task:
                yield tuple(task)


class _Clock:
    """Notes when files are begun and tasks are finished, and ends the sample when the time is over."""

    def __init__(self, lanes: int, now: Callable[[], float] = time.monotonic) -> None:
        self._lanes, self._now, self._began = lanes, now, now()
        self.tasks: dict[int, _TaskTimes] = {}
        self._warm: float | None = None
        self._results = 0

    def on_file(self, number: int, file: int) -> None:
        """An engine opens a file of a task."""
        self.tasks[number].begun.append((file, self._now()))
        if self._results:
            self.check()

    def on_result(self, result: ShardResult) -> None:
        """A task is finished."""
        task = self.tasks[result.number]
        task.finished, task.seconds = self._now(), result.seconds
        self._results += 1
        if self._results == self._lanes:
            self._warm = self._now()

    def check(self) -> None:
        """Raise `_EnoughError` when the time is over, which begins when each worker has packed a file."""
        began, seconds = (self._began, 10 * BUDGET_SECONDS) if self._warm is None else (self._warm, BUDGET_SECONDS)
        if self._now() - began > seconds:
            raise _EnoughError

    def times(self, made: int, foretold: int) -> SampleTimes:
        """What was measured, without the first task of each worker if there are more."""
        first = [one for number, one in self.tasks.items() if number < self._lanes]
        later = [one for number, one in self.tasks.items() if number >= self._lanes and one.packed()[1]]
        known = [one.packed() for one in later or first]
        weight, seconds = sum(weight for weight, _ in known), sum(seconds for _, seconds in known)
        whole = [one for one in later if one.finished is not None]
        largest = max(whole, key=lambda one: sum(planned.file.size for planned in one.files), default=None)
        end, end_bytes = 0.0, 0
        if largest is not None:
            end, end_bytes = largest.seconds[1], sum(planned.file.size for planned in largest.files)
        starts = [one.finished - self._began for one in first if one.finished is not None]
        files = sum(one.num_files for one in self.tasks.values())
        return SampleTimes(
            files=files,
            start_seconds=sum(starts) / len(starts) if starts else 0.0,
            worker_bytes_per_second=weight / max(seconds, 1e-6),
            end_seconds=end,
            end_bytes=end_bytes,
            made_bytes=made,
            foretold_bytes=foretold,
        )


def _weight(planned: PlannedFile) -> int:
    return planned.file.size + FILE_BYTES
