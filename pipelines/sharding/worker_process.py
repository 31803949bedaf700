"""The parent's end of one worker process.

A worker is a program of its own (`worker.py`), not a copy of the caller's: the caller's script is not run or imported
again, so a notebook, a script from standard input and one without a main guard pack in parallel as any other. It finds
its modules where the parent does, because `sys.path` is handed over.

    parent ── connection ── worker      tasks, numbers of files, results
           ── lifeline ───▶             nothing is sent; it closes when the parent ends, however that happens
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Any, TypeAlias

from .shard_job import ShardResult, ShardTask
from .source_reader import PackingStoppedError

__all__ = ["Work", "WorkerProcess"]

Work: TypeAlias = Callable[[ShardTask, Callable[[int], None]], ShardResult]

PROGRAM = (
    "import sys; worker, connection, lifeline, *sys.path = sys.argv[1:]; "
    "import importlib; importlib.import_module(worker).main(int(connection), int(lifeline))"
)
"""Nothing but `sys`, which is built in, is imported before the path is the parent's."""


class WorkerProcess:
    """A worker process and the task it has; `file` is the number of the file it has announced last."""

    def __init__(self, work: Work, task: ShardTask) -> None:
        try:
            self._process, self.connection, self._lifeline = _start()
        except OSError as error:
            raise PackingStoppedError(
                f"A worker process cannot be started ({error.strerror or error}). Ask for fewer with "
                "workers=…; 0 packs in this process."
            ) from error
        self.has_begun = False
        self._send(work)
        self.give(task)

    def give(self, task: ShardTask) -> None:
        """Hand over the next task."""
        self.task = task
        self.file: int | None = None
        self._send(task)

    def _send(self, message: object) -> None:
        try:
            self.connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it is dead already, which `receive` will find
        except BaseException:  # it cannot be pickled
            self.kill()
            raise

    def receive(self) -> int | ShardResult | BaseException | None:
        """The next message; None if the worker is dead."""
        try:
            message: int | ShardResult | BaseException = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._end()
            return None
        self.has_begun = True
        if isinstance(message, int):
            self.file = message
        return message

    @property
    def exit_code(self) -> int:
        """Of a dead worker, as `subprocess` has it: negative for a signal."""
        return self._process.returncode or 0

    def dismiss(self) -> None:
        """Let the worker end, which has nothing more to do."""
        self._end()

    def kill(self) -> None:
        """End the worker, whatever it is at."""
        self._process.kill()
        self._end()

    def _end(self) -> None:
        self.connection.close()
        self._process.wait()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def _start() -> tuple[subprocess.Popen[bytes], Connection[Any, Any], int]:
    """The process, and our ends of the connection and the lifeline."""
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        connection, their_connection = Pipe()
        ours.callback(connection.close)
        theirs.callback(their_connection.close)
        their_lifeline, lifeline = os.pipe()
        ours.callback(os.close, lifeline)
        theirs.callback(os.close, their_lifeline)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which the worker inherits
        try:
            process = _popen(their_connection.fileno(), their_lifeline)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        ours.pop_all()
        return process, connection, lifeline


def _popen(connection: int, lifeline: int) -> subprocess.Popen[bytes]:
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # -W, -X, -I: as multiprocessing
    path = [entry for entry in sys.path if isinstance(entry, str)]
    command = [
        sys.executable,
        *flags,
        "-c",
        PROGRAM,
        f"{__package__}.worker",
        str(connection),
        str(lifeline),
        *path,
    ]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(connection, lifeline))
