"""The progress bar of a check, which many threads advance."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from ..sharding.progress_bar import Progress

__all__ = ["CheckProgress"]

MEGABYTE = 1_000_000


class CheckProgress:
    """Counts bytes as megabytes, or examples if `noun` is not "MB"; silent if `stream` is None."""

    def __init__(self, total_bytes: int, *, stream: TextIO | None, noun: str = "MB") -> None:
        self._unit = MEGABYTE if noun == "MB" else 1
        self._bar = Progress(total_bytes // self._unit, 0, stream=stream, noun=noun)
        self._lock = threading.Lock()
        self._done = 0

    def add(self, num_bytes: int) -> None:
        """Count this many more bytes or examples."""
        with self._lock:
            self._done += num_bytes
            self._bar.on_file(0, self._done // self._unit)

    def __enter__(self) -> Callable[[int], None]:
        return self.add

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)
