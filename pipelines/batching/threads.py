"""Threads that fill batches ahead of their consumer.

    consumer:  start job 0, 1, 2 … ─▶ wait for job 0 ─▶ take it, start job n ─▶ wait for job 1 …
                     │ pieces of a few slots each
    threads:         └─▶ piece ─▶ piece ─▶ …      each slot is written by exactly one of them

Jobs are started and taken by the consumer in order, so nothing but the time it takes depends on the threads.

Slots of one run (`Job.runs`) are one task, also those of different jobs: a task that waits for a thread takes up what
belongs to it of the jobs that are started meanwhile, and fills its slots in the order of the run. Jobs are taken in
their order all the same.

Where a slot takes microseconds (bytes that are cached and need no decoding) threads only wait for one another: each
read hands the interpreter's lock over, which costs more than the read. Then they take turns, a piece at a time.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from queue import SimpleQueue
from time import monotonic, perf_counter, thread_time
from typing import Generic, Protocol, TypeVar

from ..decode.decoder import RUN_PROGRESS, Run
from ..stopping import is_asking, stopped_by

__all__ = ["PIECE", "DecodeThreads", "Job"]

PIECE = 8
"""Slots that a thread takes at a time, fewer where a job is too small for all threads to get that many."""

QUICK_PIECE = 64
"""Quick slots are taken in groups of this size, so that taking them costs little."""

SLOW_SECONDS = 20e-3
"""Slots that take longer are separate tasks, so that no thread waits while another has several."""

LONGEST_ANSWER_SECONDS = 1.5
"""The longest time that closing waits for a thread which waits for a remote read."""

QUICK_CPU_SECONDS, QUICK_SECONDS = 40e-6, 200e-6
"""A slot that takes less than both, of the processor and by the clock, leaves nothing for threads to gain."""


class Job(Protocol):
    """Some slots to fill; `fill` is called from several threads with disjoint stretches of them."""

    def __len__(self) -> int: ...

    def fill(self, start: int, stop: int) -> None:
        """Fill slots [start, stop). What it raises reaches the consumer when the job is taken."""

    def runs(self) -> list[tuple[Run, int]] | None:
        """For each slot the run that it belongs to and its place in it; None if each is for itself."""


J = TypeVar("J", bound=Job)


class _Progress(Generic[J]):
    """A job under way: pieces left, and the first error by slot."""

    def __init__(self, job: J, pieces: int) -> None:
        self.job = job
        self.done = threading.Event()
        self._lock = threading.Lock()
        self._left = pieces
        self._error: tuple[int, BaseException] | None = None

    def finish(self, start: int, error: BaseException | None) -> None:
        with self._lock:
            if error is not None and (self._error is None or start < self._error[0]):
                self._error = (start, error)
            self._left -= 1
            if self._left == 0:
                self.done.set()

    def result(self) -> J:
        self.done.wait()
        if self._error is not None:
            raise self._error[1]
        return self.job


class _Pace:
    """How quick slots are, by the piece filled last; `turn` is held while a quick piece is filled."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._is_quick = self._is_slow = False
        self._lock = threading.Lock()

    def piece(self, slots: int) -> int:
        """How many of a job's slots are one task."""
        if self._is_quick:
            return QUICK_PIECE
        return 1 if self._is_slow else max(1, min(PIECE, -(-slots // self._threads)))

    def turn(self) -> AbstractContextManager[object]:
        return self._lock if self._is_quick else nullcontext()

    def note(self, slots: int, cpu_seconds: float, seconds: float) -> None:
        self._is_quick = cpu_seconds < slots * QUICK_CPU_SECONDS and seconds < slots * QUICK_SECONDS
        self._is_slow = seconds > slots * SLOW_SECONDS


class _Slots(Generic[J]):
    """Slots of one run that wait for a thread: (place in the run, job, slot)."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.waiting: list[tuple[int, _Progress[J], int]] = []


class _Runs(Generic[J]):
    """The runs of slots that wait; a slot is added to the waiting run that it belongs to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[Run, _Slots[J]] = {}

    def add(self, run: Run, place: int, progress: _Progress[J], slot: int) -> _Slots[J] | None:
        """Add a slot to its run, which is returned if a thread has to be found for it."""
        with self._lock:
            is_new = run not in self._runs
            slots = self._runs.setdefault(run, _Slots(run))
            slots.waiting.append((place, progress, slot))
            return slots if is_new else None

    def fill(self, slots: _Slots[J], stop: threading.Event) -> None:
        """Fill the slots of a run in the order of their places, and if it is `in_order` those added meanwhile."""
        while waiting := self._take(slots):
            waiting.sort(key=lambda entry: entry[0])
            for left, (_, progress, slot) in zip(range(len(waiting) - 1, -1, -1), waiting, strict=True):
                RUN_PROGRESS.goes_on = left > 0
                error: BaseException | None = None
                try:
                    if not stop.is_set():
                        progress.job.fill(slot, slot + 1)
                except BaseException as raised:
                    error = raised
                progress.finish(slot, error)

    def _take(self, slots: _Slots[J]) -> list[tuple[int, _Progress[J], int]]:
        with self._lock:
            waiting, slots.waiting = slots.waiting, []
            if not (waiting and slots.run.in_order) and self._runs.get(slots.run) is slots:
                del self._runs[slots.run]
            return waiting


Tasks = SimpleQueue["tuple[_Progress[J], int, int] | _Slots[J] | None"]


class DecodeThreads(Generic[J]):
    """Iterate over finished jobs, in order, while `threads` threads fill the next ones.

    `ahead` jobs are under way at most; it may be changed at any time. Closing, dropping the last reference, or the
    end of the interpreter stops the threads; a slot that is being filled then is finished first, unless it waits for
    another machine.
    """

    def __init__(self, jobs: Iterator[J], *, threads: int, ahead: int) -> None:
        self._jobs, self.ahead = jobs, ahead
        self._under_way: deque[_Progress[J]] = deque()
        self._tasks: Tasks[J] = SimpleQueue()
        self._stop = threading.Event()
        self._pace = _Pace(threads)
        self._runs: _Runs[J] = _Runs()
        work = (self._tasks, self._stop, self._pace, self._runs)
        workers = [
            threading.Thread(target=_work, args=work, name=f"pipelines-decode-{number}", daemon=True)
            for number in range(threads)
        ]
        for worker in workers:
            worker.start()
        self._close = weakref.finalize(self, _stop, self._tasks, self._stop, workers)

    def __iter__(self) -> DecodeThreads[J]:
        return self

    def __next__(self) -> J:
        while len(self._under_way) < self.ahead and (job := next(self._jobs, None)) is not None:
            self._start(job)
        if not self._under_way:
            self.close()
            raise StopIteration
        try:
            return self._under_way.popleft().result()
        except BaseException:
            self.close()
            raise

    @property
    def num_ready(self) -> int:
        """Jobs that are finished and wait to be taken."""
        return sum(progress.done.is_set() for progress in self._under_way)

    def _start(self, job: J) -> None:
        if (runs := job.runs()) is not None:
            self._start_runs(job, runs)
            return
        piece = self._pace.piece(len(job))
        starts = range(0, len(job), piece)
        progress = _Progress(job, len(starts))
        self._under_way.append(progress)
        for start in starts:
            self._tasks.put((progress, start, min(start + piece, len(job))))

    def _start_runs(self, job: J, runs: list[tuple[Run, int]]) -> None:
        progress = _Progress(job, len(runs))
        self._under_way.append(progress)
        for slot, (run, place) in enumerate(runs):
            if (slots := self._runs.add(run, place, progress, slot)) is not None:
                self._tasks.put(slots)

    def close(self) -> None:
        """Stop the threads and wait until they are gone."""
        self._under_way.clear()
        self._close()


def _work(tasks: Tasks[J], stop: threading.Event, pace: _Pace, runs: _Runs[J]) -> None:
    with stopped_by(stop.is_set):
        _fill(tasks, stop, pace, runs)


def _fill(tasks: Tasks[J], stop: threading.Event, pace: _Pace, runs: _Runs[J]) -> None:
    while (task := tasks.get()) is not None:
        if stop.is_set():
            continue
        if isinstance(task, _Slots):
            runs.fill(task, stop)
            del task
            continue
        progress, start, end = task
        error: BaseException | None = None
        try:
            with pace.turn():
                begun, cpu_begun = perf_counter(), thread_time()
                progress.job.fill(start, end)
                pace.note(end - start, thread_time() - cpu_begun, perf_counter() - begun)
        except BaseException as raised:
            error = raised
        progress.finish(start, error)
        del task, progress, error  # an idle thread keeps no batch alive


def _stop(tasks: Tasks[J], stop: threading.Event, workers: list[threading.Thread]) -> None:
    stop.set()
    for _ in workers:
        tasks.put(None)
    deadline = monotonic() + LONGEST_ANSWER_SECONDS
    for worker in workers:
        while worker is not threading.current_thread() and worker.is_alive():
            worker.join(0.1)
            if monotonic() > deadline and is_asking(worker):
                break  # the thread ends by itself after the remote read
