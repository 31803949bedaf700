"""The media shown last, so that an export has the same pixels."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dirvae.explorer.showing import Shown, ShownChart

__all__ = ["MOST_BYTES", "ShownLately"]

MOST_BYTES = 128 << 20


@dataclass(eq=False)
class ShownLately:
    """The media and charts shown last, by number, up to `most_bytes`; the oldest are dropped."""

    most_bytes: int = MOST_BYTES
    _kept: OrderedDict[int, Shown | ShownChart] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _next: int = 1
    _num_bytes: int = 0

    def keep(self, shown: Shown | ShownChart) -> int:
        """Keep media or a chart; returns its number."""
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._kept[number] = shown
            self._num_bytes += shown.num_bytes
            while len(self._kept) > 1 and self._num_bytes > self.most_bytes:
                self._num_bytes -= self._kept.popitem(last=False)[1].num_bytes
            return number

    def find(self, number: int) -> Shown | ShownChart | None:
        """The media or chart with this number; None if it was dropped."""
        with self._lock:
            return self._kept.get(number)
