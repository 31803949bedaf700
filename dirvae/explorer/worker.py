"""One thread that computes; in each lane a newer request replaces an older one that has not begun."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["SupersededError", "Worker"]

T = TypeVar("T")
_Job = tuple["Future[Any]", Callable[[], Any]]


class SupersededError(Exception):
    """The work was dropped before it began, because there is a newer request in the same lane."""


class Worker:
    """Runs one piece of work after the other in one thread.

    Work in a lane, such as the sliders of one page, comes before other work. In each lane only the newest work is done.
    """

    def __init__(self, name: str) -> None:
        self._changed = threading.Condition()
        self._lanes: OrderedDict[str, _Job] = OrderedDict()
        self._newest: OrderedDict[str, int] = OrderedDict()
        self._waiting: deque[_Job] = deque()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do the work after all work submitted before."""
        future: Future[T] = Future()
        with self._changed:
            self._waiting.append((future, work))
            self._changed.notify()
        return future

    def submit_newest(self, lane: str, sequence: int, work: Callable[[], T]) -> Future[T]:
        """Do the work next. The future raises `SupersededError` if the lane gets or had a higher `sequence`."""
        future: Future[T] = Future()
        with self._changed:
            if sequence < self._newest.get(lane, sequence):
                future.set_exception(SupersededError())
                return future
            self._newest[lane] = sequence
            self._newest.move_to_end(lane)
            if len(self._newest) > 256:
                self._newest.popitem(last=False)
            if (older := self._lanes.pop(lane, None)) is not None:
                older[0].set_exception(SupersededError())
            self._lanes[lane] = (future, work)
            self._changed.notify()
        return future

    def close(self) -> None:
        """End after the current work; waiting work is cancelled."""
        with self._changed:
            self._is_closed = True
            for future, _ in (*self._lanes.values(), *self._waiting):
                future.cancel()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._lanes or self._waiting or self._is_closed):
                    self._changed.wait()
                if self._is_closed:
                    return
                future, work = self._lanes.popitem(last=False)[1] if self._lanes else self._waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
