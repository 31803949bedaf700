"""Who packs the shards: this process, or several that are watched over.

    parent                                    child
    task ────────────────────────────────────▶  pack_shard
         ◀──────────── place of each file ─────  before it is touched
         ◀──────────── result, or exception ───  at the end

A child that dies says by its last message which file it was at. The shard is tried once more as it was (the
machine may have been short of memory); a file that ends a second child is left out as a failure. Children
never touch a finished shard, end with their parent, and leave Ctrl-C to it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Protocol, TypeAlias

from .shard_job import ShardResult, ShardTask, pack_shard
from .source_reader import PackingStoppedError

__all__ = ["Engine", "OnFile", "ProcessEngine", "SerialEngine", "make_engine"]

OnFile: TypeAlias = Callable[[int, int], None]
"""on_file(number of the shard, place of the file in it), told before the file is touched."""

Work: TypeAlias = Callable[[ShardTask, Callable[[int], None]], ShardResult]


class Engine(Protocol):
    """Packs shards; in which order they come back is the engine's affair, what is in them is not."""

    def run(self, tasks: Iterable[ShardTask], on_file: OnFile) -> Iterator[ShardResult]:
        """The result of each task, as it is finished. Raises `PackingStoppedError`."""


class SerialEngine:
    """One shard after the other in this process. A native crash in a reader of media ends it."""

    def run(self, tasks: Iterable[ShardTask], on_file: OnFile) -> Iterator[ShardResult]:
        """The result of each task, in order."""
        for task in tasks:
            number = task.shard.number

            def on_place(place: int, number: int = number) -> None:
                on_file(number, place)

            yield pack_shard(task, on_place)


class ProcessEngine:
    """`workers` child processes, a shard at a time each."""

    def __init__(self, workers: int, *, work: Work = pack_shard) -> None:
        self.workers, self._work = workers, work

    def run(self, tasks: Iterable[ShardTask], on_file: OnFile) -> Iterator[ShardResult]:
        """The result of each task as it is finished; leaving the iteration early ends the children."""
        waiting = deque(tasks)
        crashes: Counter[tuple[int, int]] = Counter()
        children: list[_Child] = []
        try:
            for _ in range(min(self.workers, len(waiting))):
                children.append(_Child(self._work, waiting.popleft()))
            while children:
                for connection in wait([child.connection for child in children]):
                    child = next(child for child in children if child.connection is connection)
                    message = child.receive()
                    if isinstance(message, int):
                        on_file(child.task.shard.number, message)
                        continue
                    if isinstance(message, BaseException):
                        raise message
                    if message is None:
                        waiting.appendleft(child.task_after_crash(crashes))
                        children.remove(child)
                        children.append(_Child(self._work, waiting.popleft()))
                        continue
                    if waiting:
                        child.give(waiting.popleft())
                    else:
                        child.dismiss()
                        children.remove(child)
                    yield message
        finally:
            for child in children:
                child.kill()


def make_engine(workers: int) -> Engine:
    """The engine for a number of worker processes; 0 packs in this one."""
    return ProcessEngine(workers) if workers else SerialEngine()


class _Child:
    """The parent's end of one child process and the task it has."""

    def __init__(self, work: Work, task: ShardTask) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(work, theirs), daemon=True)
        resource_tracker.ensure_running()  # else starting the first child would start it, and unblock the signal
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which the child inherits
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            theirs.close()
        self._has_begun = False
        self._place: int | None = None
        self.give(task)

    def give(self, task: ShardTask) -> None:
        self.task, self._place = task, None
        with contextlib.suppress(BrokenPipeError):  # it is dead already, which `receive` will tell
            self.connection.send(task)

    def receive(self) -> int | ShardResult | BaseException | None:
        """The next message; None if the child is dead."""
        try:
            message: int | ShardResult | BaseException = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            self.connection.close()
            return None
        self._has_begun = True
        if isinstance(message, int):
            self._place = message
        return message

    def task_after_crash(self, crashes: Counter[tuple[int, int]]) -> ShardTask:
        """What to do next about the shard of a dead child. Raises `PackingStoppedError` if nothing helps."""
        how, place = _how_it_ended(self._process.exitcode or 0), -1 if self._place is None else self._place
        crashes[self.task.shard.number, place] += 1
        is_second = crashes[self.task.shard.number, place] > 1
        if place < 0 and (is_second or not self._has_begun):
            raise PackingStoppedError(
                f"A worker process ended before it had read a file ({how}). In a script, call make_shards below "
                '`if __name__ == "__main__":`, or use workers=0.'
            )
        return self.task.without(place, f"its reader crashed ({how})") if is_second else self.task

    def dismiss(self) -> None:
        self.connection.close()
        self._process.join()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(work: Work, connection: Connection) -> None:
    """The life of a child: tasks until the parent closes the connection."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # native readers print remarks there; ours go to the parent
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task: ShardTask = connection.recv()
            try:
                result: ShardResult | BaseException = work(task, connection.send)
            except (BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:
                result = error
            connection.send(result)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _how_it_ended(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"
