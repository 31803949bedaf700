"""From the channels a recording is stored with to those that are asked for: one rule for playing and for packing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import UndecodableError

__all__ = ["to_channels"]


def to_channels(samples: NDArray[np.float32], num: int) -> NDArray[np.float32]:
    """(time, stored) samples as (time, `num`): their mean for one, one repeated, else the first of them.

    A view where that is possible, read-only where one channel is repeated. Raises `UndecodableError` where there are
    some, but fewer than asked for.
    """
    stored = samples.shape[1]
    if stored == num:
        return samples
    if num == 1:
        mean: NDArray[np.float32] = samples.mean(axis=1, keepdims=True, dtype=np.float32)
        return mean
    if stored == 1:
        return np.broadcast_to(samples, (len(samples), num))
    if stored > num:
        return samples[:, :num]
    raise UndecodableError(f"it has {stored} channels, and {num} cannot be made of them")
