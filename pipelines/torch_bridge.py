"""The only file here that knows torch: tensors out of batches, and torch's fast resizer for uint8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .batch import Batch

__all__ = ["batch_to_device", "torch_resize"]


def torch_resize(source: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
    """Fill the target with the source, antialiased bilinear: both (height, width, channel) uint8.

    `torch.nn.functional.interpolate(..., mode="bilinear", antialias=True)` on uint8 in channels-last memory.
    """
    picture = torch.from_numpy(source).permute(2, 0, 1)[None]
    resized = F.interpolate(picture, size=target.shape[:2], mode="bilinear", antialias=True)
    target[...] = resized[0].permute(1, 2, 0).numpy()


def batch_to_device(batch: Batch, device: str | torch.device, *, non_blocking: bool = True) -> Batch:
    """The same batch with `data`, `mask` and `lengths` as tensors on a device; channels-last memory stays so."""

    def move(array: Any) -> Any:
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            return array
        return torch.from_numpy(array).to(device, non_blocking=non_blocking)

    return batch.replace(data=move(batch.data), mask=move(batch.mask), lengths=move(batch.lengths))
