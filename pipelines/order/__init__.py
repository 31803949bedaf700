"""Which example stands where: arithmetic on (seed, epoch, position), NumPy only."""

from .epoch_order import ORDER_VERSION, EpochOrder, Permutation, Shuffle, permutation

__all__ = ["ORDER_VERSION", "EpochOrder", "Permutation", "Shuffle", "permutation"]
