"""Open decoders between two clips: the next clip of the same file may begin where one of them stands."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["DecoderPool", "OpenDecoder"]


class OpenDecoder(Protocol):
    """A decoder of one file, used by one thread at a time.

    `position` is the frame it decodes next, `num_bytes` about how much memory it holds.
    """

    position: int
    num_bytes: int

    def close(self) -> None:
        """Let go of it."""


D = TypeVar("D", bound=OpenDecoder)
Name = tuple[Any, ...]


class DecoderPool(Generic[D]):
    """The `size` decoders that were used last and are idle now, by the name of their file. Pickled, it is empty.

    With `most_bytes` fewer are kept where they hold more memory than that, but always one. In a process that is forked
    from this one it is empty, too: both would read on in the same open file, each from where the other left it. They
    are closed with the pool: what PyAV opens refers to itself, and would stay open until the garbage is collected.
    """

    def __init__(self, size: int, *, most_bytes: int | None = None) -> None:
        self.size, self.most_bytes = size, most_bytes
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[tuple[Name, D]] = []  # the one that was used last at the end
        self._process = os.getpid()
        self._end = weakref.finalize(self, _close_all, self._idle, self._process)
        self._end.atexit = False

    def _leave_to_the_parent(self) -> None:
        if self._process != os.getpid():
            self._end.detach()
            self._forget()

    def take(self, name: Name, position: int) -> D | None:
        """An idle decoder of a file, the one that stands nearest to a position; nobody else gets it then."""
        self._leave_to_the_parent()
        with self._lock:
            mine = [place for place, (other, _) in enumerate(self._idle) if other == name]
            if not mine:
                return None
            nearest = min(mine, key=lambda place: abs(self._idle[place][1].position - position))
            return self._idle.pop(nearest)[1]

    def put_back(self, name: Name, decoder: D) -> None:
        """Keep a decoder for the next clip; one that failed is not put back."""
        self._leave_to_the_parent()
        with self._lock:
            self._idle.append((name, decoder))
            num = self._num_kept()
            dropped = self._idle[:-num]
            del self._idle[:-num]
        for _, old in dropped:
            old.close()

    def _num_kept(self) -> int:
        """How many of the last ones stay."""
        num = held = 0
        for _, decoder in reversed(self._idle[-self.size :]):
            held += decoder.num_bytes
            if num and self.most_bytes is not None and held > self.most_bytes:
                break
            num += 1
        return num

    def clear(self) -> None:
        """Close all of them."""
        self._leave_to_the_parent()
        with self._lock:
            idle = self._idle.copy()
            self._idle.clear()
        _close_all(idle, self._process)

    def __getstate__(self) -> dict[str, Any]:
        return {"size": self.size, "most_bytes": self.most_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.size, self.most_bytes = state["size"], state["most_bytes"]
        self._forget()


def _close_all(idle: list[tuple[Name, D]], process: int) -> None:
    if process == os.getpid():
        for _, decoder in idle:
            decoder.close()
