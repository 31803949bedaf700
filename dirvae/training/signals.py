"""Stopping on request: SIGTERM and Ctrl-C end training after the step in progress."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["InterruptAfterStep", "StopSignals"]


class StopSignals:
    """Within the block the first SIGTERM or Ctrl-C is only recorded, in `received`; a second one acts as usual."""

    numbers: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Whether a stop was requested."""
        return self.received is not None

    def __enter__(self) -> Self:
        for number in self.numbers:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()

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
