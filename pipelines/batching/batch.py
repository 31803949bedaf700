"""What an iterator hands over: the arrays of one step, what they are, and the state after it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batch"]


@dataclass(frozen=True, eq=False, repr=False)
class Batch:
    """One step's examples. A batch owns its memory; keeping one keeps nothing else alive.

    data         (batch, channel, *dims); images are uint8 in channels-last memory. A tensor after `to`.
    keys         each example's key, `KEY@START` for a clip
    indices      (batch,) int64: each example's index in the source it was read from
    fields       the examples' other members, by the names that were asked for
    mask         (batch,) bool, False where an example only fills up the last batch; None where none does
    lengths      (batch,) int64 valid steps of each example; None where all are whole
    substituted  (batch,) bool, True where another example stands in for one that could not be decoded; or None
    transform    (batch, 2, 3) float32: source pixels (x, y, 1) of the upright picture → output pixels; or None
    places       (batch, 3) int64: stream, epoch and position of each example, alike for padding only; None in a batch
                 that no iterator made
    state        the iterator's state after this batch: JSON, under 1 KB
    """

    data: Any
    keys: list[str]
    indices: NDArray[np.int64]
    state: dict[str, Any]
    fields: dict[str, Any] = field(default_factory=dict)
    mask: Any = None
    lengths: Any = None
    substituted: NDArray[np.bool_] | None = None
    transform: NDArray[np.float32] | None = None
    places: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: Any, *, non_blocking: bool = True) -> Batch:
        """The same batch with torch tensors on a device, a name or a `torch.device`.

        `data`, `mask`, `lengths` and the ragged fields of annotations become tensors. Place annotations first:
        `pipelines.boxes.place(batch).to(device)`.
        """
        from ..tensors import batch_to_device

        return batch_to_device(self, device, non_blocking=non_blocking)

    def replace(self, **changes: Any) -> Batch:
        """A copy with some attributes replaced."""
        return dataclasses.replace(self, **changes)

    def __repr__(self) -> str:
        parts = [f"data={tuple(self.data.shape)} {self.data.dtype}", f"keys=[{self.keys[0]!r}, …]"]
        parts += [f"fields={sorted(self.fields)}"] if self.fields else []
        parts += [f"{int((~self.mask).sum())} padded"] if self.mask is not None else []
        return f"Batch({', '.join(parts)}, epoch={self.state['epoch']}, position={self.state['position']})"
