"""A few things that are expensive to open, kept for the next user."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

__all__ = ["LiveCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LiveCache(Generic[K, V]):
    """The `size` values used last; safe to use from many threads. Pickled, it is empty.

    Two threads that ask for a key at the same time may both open it; one of the two values is kept. What leaves the
    cache closes when its last user lets it go.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, open: Callable[[K], V]) -> V:
        """The value of a key, by `open(key)` if it is not kept. Raises what `open` raises."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = open(key)
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            while len(self._kept) > self.size:
                self._kept.popitem(last=False)
        return value

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def __getstate__(self) -> dict[str, Any]:
        return {"size": self.size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.size = state["size"]
        self._forget()
