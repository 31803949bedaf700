"""How a thread that waits for another machine learns that nobody needs the result any more.

    with stopped_by(stop.is_set):        what a thread does for others who may tell it to stop
        check_stopped(name)              wherever it waits: between two short waits

This is kept per thread: stopping one iteration does not stop others that read the same source.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .errors import SourceError

__all__ = ["STOP_SECONDS", "StoppedError", "asking", "check_stopped", "is_asking", "pause", "stopped_by"]

STOP_SECONDS = 0.25
"""The longest wait between two checks."""


class StoppedError(SourceError):
    """A read that was ended because nobody needs it any more; it says nothing of what was read."""


class _Local(threading.local):
    is_stopped: Callable[[], bool] | None = None


_LOCAL = _Local()
_ASKING: dict[int, int] = {}


@contextmanager
def stopped_by(is_stopped: Callable[[], bool]) -> Iterator[None]:
    """What this thread waits for within the block is given up once `is_stopped`."""
    before, _LOCAL.is_stopped = _LOCAL.is_stopped, is_stopped
    try:
        yield
    finally:
        _LOCAL.is_stopped = before


def check_stopped(name: str) -> None:
    """Raise `StoppedError` if this thread has to stop; `name` is what it waits for."""
    if _LOCAL.is_stopped is not None and _LOCAL.is_stopped():
        raise StoppedError(f"{name}: not needed any more.")


def pause(sleep: Callable[[float], None], seconds: float, name: str) -> None:
    """Sleep by `sleep`; if this thread can be told to stop, in short waits. Raises `StoppedError`."""
    if _LOCAL.is_stopped is None:
        sleep(seconds)
        return
    deadline = time.monotonic() + seconds
    check_stopped(name)
    while (left := deadline - time.monotonic()) > 0:
        sleep(min(left, STOP_SECONDS))
        check_stopped(name)


@contextmanager
def asking() -> Iterator[None]:
    """Within this block the thread may be kept waiting by another machine, and not notice that it is to stop."""
    thread = threading.get_ident()
    _ASKING[thread] = _ASKING.get(thread, 0) + 1
    try:
        yield
    finally:
        _ASKING[thread] -= 1
        if not _ASKING[thread]:
            del _ASKING[thread]


def is_asking(thread: threading.Thread) -> bool:
    """Whether a thread is within `asking`."""
    return thread.ident in _ASKING
