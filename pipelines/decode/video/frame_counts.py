"""How many frames were decoded for those that were delivered."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

__all__ = ["FrameCounter", "FrameCounts"]


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """Frames that came out of decoders, that decoders were told to skip, and that were delivered; seeks; files opened.

    Frames that are delivered twice, as in clips that overlap, count twice as delivered and once as decoded.
    """

    decoded: int = 0
    skipped: int = 0
    delivered: int = 0
    seeks: int = 0
    opened: int = 0

    @property
    def decoded_per_delivered(self) -> float:
        """What a frame costs, in frames that are decoded."""
        return self.decoded / max(1, self.delivered)


class FrameCounter:
    """Adds up what several threads count. Pickled, it keeps its numbers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = FrameCounts()

    def add(self, **counts: int) -> None:
        """Add to some of the numbers."""
        with self._lock:
            now = self._counts
            self._counts = FrameCounts(
                **{name: getattr(now, name) + counts.get(name, 0) for name in FrameCounts.__dataclass_fields__}
            )

    @property
    def counts(self) -> FrameCounts:
        """The numbers so far."""
        return self._counts

    def __getstate__(self) -> dict[str, Any]:
        return {"_counts": self._counts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._lock = threading.Lock()
        self._counts = state["_counts"]
