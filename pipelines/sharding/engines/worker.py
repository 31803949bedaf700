"""The life of a worker process: tasks are packed until the parent closes the connection, or ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from ...child_process import end_with
from ..source_reader import PackingStoppedError

__all__ = ["main"]


def main(connection: int, lifeline: int) -> None:
    """Serve the parent at the other end of two file descriptors."""
    for descriptor in (connection, lifeline):
        os.set_inheritable(descriptor, False)
    end_with(lifeline)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # native readers print remarks there; ours go to the parent
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(Connection(connection))


def _serve(connection: Connection[Any, Any]) -> None:
    try:
        work: Callable[..., object] = _received(connection)
        while True:
            task = _received(connection)
            connection.send(_result(work, task, connection.send))
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


def _result(work: Callable[..., object], task: object, send: Callable[[int], None]) -> object:
    try:
        return work(task, send)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:
        return error
