"""Where the time goes: what an iterator counts while it runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

__all__ = ["Counters", "Stats"]


@dataclass(frozen=True)
class Stats:
    """What an iterator has done since it was made.

    examples and bytes (encoded) delivered, in batches; finished batches that were waiting when one was asked for,
    summed over them; seconds spent by all threads reading and decoding; seconds the consumer waited for a batch,
    and seconds it spent on its own between two; examples for which another one stands in.
    Of data that lies elsewhere: requests, those of them that were tries again, bytes fetched, shards that were in the
    cache, and seconds that all threads waited for shards.
    """

    examples: int = 0
    bytes: int = 0
    batches: int = 0
    ready: int = 0
    read_seconds: float = 0.0
    decode_seconds: float = 0.0
    wait_seconds: float = 0.0
    consumer_seconds: float = 0.0
    substituted: int = 0
    threads: int = 1
    requests: int = 0
    retries: int = 0
    fetched_bytes: int = 0
    cache_hits: int = 0
    stall_seconds: float = 0.0

    @property
    def wall_seconds(self) -> float:
        """Time from the first batch asked for to the last one delivered, whole epochs' pauses left out."""
        return self.wait_seconds + self.consumer_seconds

    @property
    def queue_depth(self) -> float:
        """Finished batches waiting when one is asked for, on average."""
        return self.ready / self.batches if self.batches else 0.0

    @property
    def bytes_per_second(self) -> float:
        """Encoded bytes read per second of wall time."""
        return self.bytes / self.wall_seconds if self.wall_seconds else 0.0

    @property
    def busy_share(self) -> float:
        """The share of the threads' time spent reading and decoding, from 0 to 1."""
        whole = self.threads * self.wall_seconds
        return min(1.0, (self.read_seconds + self.decode_seconds) / whole) if whole else 0.0

    @property
    def verdict(self) -> str:
        """What limits the loop, and what would help, in one line."""
        if not self.batches:
            return "nothing delivered yet"
        if self.wait_share < 0.05:
            return f"consumer-bound: batches are ready when asked for ({self.queue_depth:.1f} waiting)"
        if self.requests and self.read_seconds > self.decode_seconds:
            return "link-bound: a faster link, a warm cache or smaller examples would help"
        if self.busy_share < 0.7:
            return "threads wait for the consumer in turns: a larger prefetch_bytes would help"
        if self.read_seconds > self.decode_seconds:
            return "read-bound: faster storage, smaller examples or more threads would help"
        return "decode-bound: more threads would help while there are cores; smaller examples always do"

    @property
    def wait_share(self) -> float:
        """The share of the consumer's time that it spent waiting for data, from 0 to 1."""
        return self.wait_seconds / self.wall_seconds if self.wall_seconds else 0.0

    @property
    def examples_per_second(self) -> float:
        """Examples delivered per second of wall time; 0 before the first."""
        return self.examples / self.wall_seconds if self.wall_seconds else 0.0

    def __str__(self) -> str:
        rate, megabytes = self.examples_per_second, self.bytes_per_second / 1e6
        return f"{rate:,.0f} examples/s, {megabytes:,.0f} MB/s, {self.wait_share:.0%} waiting: {self.verdict}"


class Counters:
    """Sums that several threads add to; `stats()` is a consistent copy."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[str, Any] = {}
        self._threads = 1

    def set_threads(self, threads: int) -> None:
        """How many threads the sums are over."""
        self._threads = threads

    def add(self, **amounts: float) -> None:
        """Add to the named attributes of `Stats`."""
        with self._lock:
            for name, amount in amounts.items():
                self._sums[name] = self._sums.get(name, 0) + amount

    def stats(self) -> Stats:
        """The sums so far."""
        with self._lock:
            return Stats(**self._sums, threads=self._threads)

    def __getstate__(self) -> dict[str, Any]:
        return {"threads": self._threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        self._threads = state["threads"]
