"""Stopping on request: SIGTERM and Ctrl-C end training after the step in progress, and what is long at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["InterruptAfterStep", "StopNow", "StopSignals", "interruptible"]


class StopNow(BaseException):
    """Raised within `interruptible` where a stop is requested."""


class _Section:
    """Whether the main thread is in a section that a stop ends at once, and whether one was requested."""

    depth = 0
    stops: list[StopSignals] = []  # noqa: RUF012 - those whose blocks are entered


@contextmanager
def interruptible() -> Iterator[None]:
    """Within this block of the main thread a stop that `StopSignals` record raises `StopNow`, also one from before it.

    For what may take long and can be left out, such as an evaluation.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _Section.depth += 1
    try:
        if any(stop.received is not None for stop in _Section.stops):
            raise StopNow
        yield
    finally:
        _Section.depth -= 1


class StopSignals:
    """Within the block the first SIGTERM or Ctrl-C is only recorded, in `received`; a second one acts as usual."""

    numbers: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Whether a stop was requested."""
        return self.received is not None

    @property
    def is_urgent(self) -> bool:
        """Whether it was by SIGTERM: who sends it waits for some seconds only."""
        return self.received is signal.SIGTERM

    def __enter__(self) -> Self:
        for number in self.numbers:
            self._before[number] = signal.signal(number, self._note)
        _Section.stops.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self in _Section.stops:
            _Section.stops.remove(self)
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()
        if _Section.depth:
            raise StopNow

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


class InterruptAfterStep(StopSignals):
    """Within the block the first Ctrl-C of a script or a notebook is only recorded; a second one acts as usual.

    It does nothing in a thread, and nothing where somebody else handles Ctrl-C, as the command line does.
    """

    numbers: tuple[signal.Signals, ...] = (signal.SIGINT,)

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            super().__enter__()
        return self
