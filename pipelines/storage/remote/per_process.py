"""What each process makes for itself: locks, threads, connections. After a fork those of the parent cannot be used."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["PerProcess"]

T = TypeVar("T")


class PerProcess(Generic[T]):
    """One value per process, made by `make()` on first use; safe to use from many threads.

    A forked process and a copy from a pickle start without a value. The parent's value stays referenced after a fork,
    so that its destructors do not run in the child.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: dict[int, T] = {}

    def get(self) -> T:
        """The value of this process."""
        process = os.getpid()
        if process not in self._values:
            self._values.setdefault(process, self._make())
        return self._values[process]

    def __reduce__(self) -> tuple[Any, ...]:
        return PerProcess, (self._make,)
