"""Which example stands where: arithmetic on (seed, epoch, position), NumPy only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

if TYPE_CHECKING:
    from .epoch_order import ORDER_VERSION, EpochOrder, Permutation, Shuffle, permutation

__all__ = ["ORDER_VERSION", "EpochOrder", "Permutation", "Shuffle", "permutation"]

lazy_names(__name__, dict.fromkeys(__all__, ".epoch_order"))
