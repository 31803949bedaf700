"""The life of a worker process: tasks are packed until the parent closes the connection, or ends.

It imports the packing code first. Before it has tasks, it reads first bytes of files for the listing. It also receives
settings and ignores them: unpickling them imports the modules that tasks with these settings need.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from ...child_process import end_with
from ...storage.heads import HeadsTask
from ..shard_job import ShardTask, pack_shard
from ..source_reader import PackingStoppedError
from .file_counter import FileCounter

__all__ = ["main"]


def main(connection: int, lifeline: int, counter: int) -> None:
    """Serve the parent at the other end of these file descriptors."""
    for descriptor in (connection, lifeline, counter):
        os.set_inheritable(descriptor, False)
    end_with(lifeline)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # native readers print remarks there; ours go to the parent
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(Connection(connection), FileCounter(counter))
    os._exit(0)  # the parent waits for it


def _serve(connection: Connection[Any, Any], counter: FileCounter) -> None:
    try:
        work: Callable[..., object] = pack_shard
        counter.say_ready()
        while True:
            received = _received(connection)
            if isinstance(received, ShardTask):
                connection.send(_result(work, received, counter.write))
            elif isinstance(received, HeadsTask):
                connection.send(received.read())
            elif callable(received):
                work = received
    except PackingStoppedError as error:
        connection.send(error)


def _received(connection: Connection[Any, Any]) -> Any:
    try:
        return connection.recv()
    except (AttributeError, ImportError) as error:
        raise PackingStoppedError(
            f"A worker process cannot import what it needs ({error}). Move it to a module that can be imported, or use "
            "workers=0."
        ) from error


def _result(work: Callable[..., object], task: object, on_file: Callable[[int], None]) -> object:
    try:
        return work(task, on_file)
    except Exception as error:
        return error
