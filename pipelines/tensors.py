"""Arrays to torch tensors, and torch's resize: the only file outside `torch_bridge/` that knows torch."""

from __future__ import annotations

from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

__all__ = ["batch_to_device", "torch_resize"]


class Movable(Protocol):
    """Of a batch, what moving it to a device needs."""

    @property
    def data(self) -> Any: ...

    @property
    def mask(self) -> Any: ...

    @property
    def lengths(self) -> Any: ...

    @property
    def fields(self) -> Any: ...

    def replace(self, **changes: Any) -> Self: ...


B = TypeVar("B", bound=Movable)


def _as_tensor(array: NDArray[Any]) -> torch.Tensor:
    """The array's own memory as a tensor. Raises `TypeError` for numbers that torch has no type for."""
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise TypeError(
            f"The batch holds {array.dtype}, which torch has no type for. Convert it with transform=…, "
            "e.g. lambda array, rng, example: array.astype('float64')."
        ) from error


def torch_resize(source: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
    """Fill the target with the source, antialiased bilinear: both (height, width, channel) uint8.

    `torch.nn.functional.interpolate(..., mode="bilinear", antialias=True)` on uint8 in channels-last memory. That
    has a fast path for memory it recognises as such: contiguous, and the stride of the one picture a whole picture.
    """
    picture = torch.from_numpy(np.ascontiguousarray(source).reshape(1, *source.shape)).permute(0, 3, 1, 2)
    resized = F.interpolate(picture, size=target.shape[:2], mode="bilinear", antialias=True)
    target[...] = resized[0].permute(1, 2, 0).numpy()


def batch_to_device(
    batch: B, device: str | torch.device = "cpu", *, non_blocking: bool = True, pin_memory: bool = False
) -> B:
    """The same batch with `data`, `mask`, `lengths` and ragged fields (`Packed`, `Masks`) as tensors on a device.

    Other fields stay as they are, and so does channels-last memory.

    Numbers become tensors, complex ones too; text, dates and records stay NumPy arrays. With `pin_memory` the copy goes
    through page-locked memory, so that it can overlap with computation. Raises `TypeError` for numbers that torch has
    no type for, such as longdouble.
    """

    def move(array: Any) -> Any:
        if isinstance(array, np.ndarray) and array.dtype.kind in "biufc":
            array = _as_tensor(array)
        if not isinstance(array, torch.Tensor):
            return array
        return (array.pin_memory() if pin_memory else array).to(device, non_blocking=non_blocking)

    fields = {name: field.map(move) if hasattr(field, "map") else field for name, field in batch.fields.items()}
    return batch.replace(data=move(batch.data), mask=move(batch.mask), lengths=move(batch.lengths), fields=fields)
