"""Open decoders between two clips: the next clip of the same file may begin where one of them stands."""

from __future__ import annotations

import threading
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["DecoderPool", "OpenDecoder"]


class OpenDecoder(Protocol):
    """A decoder of one file, used by one thread at a time; `position` is the frame it decodes next."""

    position: int

    def close(self) -> None:
        """Let go of it."""


D = TypeVar("D", bound=OpenDecoder)
Name = tuple[Any, ...]


class DecoderPool(Generic[D]):
    """The `size` decoders that were used last and are idle now, by the name of their file. Pickled, it is empty."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[tuple[Name, D]] = []  # the one that was used last at the end

    def take(self, name: Name, position: int) -> D | None:
        """An idle decoder of a file, the one that stands at a position if there is one; nobody else gets it then."""
        with self._lock:
            mine = [place for place, (other, _) in enumerate(self._idle) if other == name]
            if not mine:
                return None
            there = [place for place in mine if self._idle[place][1].position == position]
            return self._idle.pop((there or mine)[0])[1]

    def put_back(self, name: Name, decoder: D) -> None:
        """Keep a decoder for the next clip; one that failed is not put back."""
        with self._lock:
            self._idle.append((name, decoder))
            dropped = self._idle[: -self.size]
            del self._idle[: -self.size]
        for _, old in dropped:
            old.close()

    def clear(self) -> None:
        """Close all of them."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, decoder in idle:
            decoder.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"size": self.size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.size = state["size"]
        self._forget()
