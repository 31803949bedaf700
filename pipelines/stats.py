"""Where the time goes: what an iterator counts while it runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

__all__ = ["Counters", "Stats"]


@dataclass(frozen=True)
class Stats:
    """What an iterator has done since it was made.

    examples and bytes (encoded) delivered; seconds spent by all threads reading and decoding; seconds the consumer
    waited for a batch, and seconds it spent on its own between two; substituted examples.
    """

    examples: int = 0
    bytes: int = 0
    read_seconds: float = 0.0
    decode_seconds: float = 0.0
    wait_seconds: float = 0.0
    consumer_seconds: float = 0.0
    substituted: int = 0

    @property
    def wait_share(self) -> float:
        """The share of the consumer's time that it spent waiting for data, from 0 to 1."""
        total = self.wait_seconds + self.consumer_seconds
        return self.wait_seconds / total if total else 0.0

    @property
    def examples_per_second(self) -> float:
        """Examples delivered a second of wall time; 0 before the first."""
        total = self.wait_seconds + self.consumer_seconds
        return self.examples / total if total else 0.0


class Counters:
    """Sums that several threads add to; `stats()` is a consistent copy."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[str, Any] = {}

    def add(self, **amounts: float) -> None:
        """Add to the named attributes of `Stats`."""
        with self._lock:
            for name, amount in amounts.items():
                self._sums[name] = self._sums.get(name, 0) + amount

    def stats(self) -> Stats:
        """The sums so far."""
        with self._lock:
            return Stats(**self._sums)

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
