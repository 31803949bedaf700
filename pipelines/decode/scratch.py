"""Memory that a thread decodes into again and again.

A fresh megabyte for each picture costs as much as decoding it: the system has to hand out and clear every page.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

__all__ = ["KEPT_BYTES", "Scratch"]

KEPT_BYTES = 64 << 20
"""A larger picture gets memory of its own, so that one giant does not stay with every thread."""


class Scratch:
    """Each thread's own raster, overwritten by its next picture."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        """At least this many bytes, (bytes,) uint8, with what was left in them."""
        if num_bytes > KEPT_BYTES:
            return np.empty(num_bytes, np.uint8)
        kept: NDArray[np.uint8] | None = getattr(self._of_thread, "kept", None)
        if kept is None or len(kept) < num_bytes:
            kept = self._of_thread.kept = np.empty(max(num_bytes, 1 << 21), np.uint8)
        return kept

    def raster(self, height: int, width: int, channels: int) -> NDArray[np.uint8]:
        """(height, width, channel) uint8, contiguous."""
        num_bytes = height * width * channels
        return self.take(num_bytes)[:num_bytes].reshape(height, width, channels)
