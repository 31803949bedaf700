"""Counts of requests to stores, over all threads of a process."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any

__all__ = ["Counters", "Counts"]


@dataclass(frozen=True)
class Counts:
    """Requests, retries among them, bytes received, and seconds waited before retries."""

    requests: int = 0
    retries: int = 0
    bytes: int = 0
    seconds_waiting: float = 0.0


class Counters:
    """Counts that many threads add to. Pickled, and in a forked process, they begin at zero."""

    def __init__(self) -> None:
        self._lock, self._counts, self._pid = threading.Lock(), Counts(), os.getpid()

    def add(self, requests: int = 0, retries: int = 0, num_bytes: int = 0, seconds_waiting: float = 0.0) -> None:
        """Count something."""
        self._check_process()
        with self._lock:
            now = self._counts
            self._counts = Counts(
                now.requests + requests,
                now.retries + retries,
                now.bytes + num_bytes,
                now.seconds_waiting + seconds_waiting,
            )

    def now(self) -> Counts:
        """The counts so far."""
        self._check_process()
        return self._counts

    def _check_process(self) -> None:
        if self._pid != os.getpid():  # a fork may have copied the lock while it was held
            self.__init__()  # type: ignore[misc]

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
