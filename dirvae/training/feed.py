"""The batches of training: any iterable's, as float tensors on the device, and the position in them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dirvae.seeding import Purpose, derive_seed, seeded
from dirvae.training.errors import TrainingError
from pipelines.batching.iteration import BatchIterator
from pipelines.torch_bridge import DevicePrefetcher

__all__ = ["Feed", "FeedBatch", "to_device"]

_END = object()
_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


@dataclass(frozen=True)
class FeedBatch:
    """A batch on the device. `data` is float32 (batch, channel, *dims), uint8 data scaled to [0, 1]; `mask` (batch,)
    bool marks real examples, None if all are; `num_examples` counts them; `step` is the update it is for, from 0.
    `source` is the batch as it was given, with its keys, fields or labels; the arrays of an iterator's batch are
    tensors on the device there.
    """

    data: Tensor
    mask: Tensor | None
    num_examples: int
    step: int = 0
    source: Any = None


class Feed:
    """The epochs of an iterable, one after the other, with the position after the last batch taken.

    `batches` yields batches (anything with `.data`), tensors, arrays, or tuples that begin with one of these, and
    can be iterated again for the next epoch. The position is the state of the last batch if it has one, otherwise the
    number of batches taken in the epoch. Torch's generator is seeded by (seed, epoch) at the start of an epoch, so
    that counting is exact for a list and also for a DataLoader that shuffles.

    Batches of an iterator of `pipelines` go through a `DevicePrefetcher`: a GPU receives the next one during the
    step before it. `close` moves the iterator back to the last batch taken.
    """

    def __init__(self, batches: Iterable[Any], device: torch.device, *, seed: int = 0) -> None:
        self._kind = type(batches).__name__
        self._batches = DevicePrefetcher(batches, device) if isinstance(batches, BatchIterator) else batches
        self._device = device
        self._seed = seed
        self._epoch = 0
        self._count = 0
        self._state: dict[str, Any] | None = None
        self._iterator: Iterator[Any] | None = None
        self._wait_seconds = 0.0

    @property
    def epoch(self) -> int:
        """Epochs completed: the iterator's own number if its state has one."""
        saved = self._state.get("epoch") if self._state is not None else None
        return saved if isinstance(saved, int) else self._epoch

    def batches_per_epoch(self) -> int:
        """Batches of a whole epoch, if none was taken yet. Raises `TrainingError` if the number is unknown."""
        try:
            return len(self._batches)  # type: ignore[arg-type]
        except TypeError as error:
            raise TrainingError(
                f"{self._kind} has no length, so the steps of an epoch are unknown. Give steps instead of epochs."
            ) from error

    def take(self, step: int) -> FeedBatch:
        """The next batch, for an update. Raises `TrainingError` if a whole epoch has no batch."""
        began = time.perf_counter()
        batch = self._next()
        self._wait_seconds += time.perf_counter() - began
        self._count += 1
        self._state = getattr(batch, "state", None)
        mask = getattr(batch, "mask", None)
        data = to_device(_data_of(batch), self._device)
        if mask is None:
            return FeedBatch(data, None, len(data), step, batch)
        num_examples = int(torch.as_tensor(mask).sum())
        return FeedBatch(data, torch.as_tensor(mask).to(self._device), num_examples, step, batch)

    def take_wait_seconds(self) -> float:
        """Seconds spent waiting for batches since the last call."""
        waited, self._wait_seconds = self._wait_seconds, 0.0
        return waited

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch taken, as JSON."""
        state = self._state
        if state is None and hasattr(self._batches, "state_dict"):
            state = self._batches.state_dict()
        return {"epoch": self._epoch, "batches": self._count, "iterator": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the batch at which `state` was saved; the iterator's own errors pass through."""
        self.close()
        self._epoch, self._count, self._state = state["epoch"], state["batches"], state["iterator"]
        if self._state is None:
            if (self._epoch or self._count) and hasattr(self._batches, "state_dict"):
                raise TrainingError(
                    f"the run was saved with batches that have no state, but {self._kind} has one. Resume with the "
                    "same kind of batches."
                )
            return
        if not hasattr(self._batches, "load_state_dict"):
            raise TrainingError(
                f"the run was saved with an iterator that has a state, but {self._kind} has no load_state_dict. "
                "Resume with the same kind of batches."
            )
        self._batches.load_state_dict(self._state)

    def close(self) -> None:
        """End the iteration in progress; the iterator's own state is then that of the last batch taken."""
        iterator, self._iterator = self._iterator, None
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
        if iterator is not None and isinstance(self._batches, DevicePrefetcher):
            self._batches.load_state_dict(self._batches.state_dict())

    def _next(self) -> Any:
        if self._iterator is None:
            batch = self._begin(skip=self._count if self._state is None else 0)
        else:
            batch = next(self._iterator, _END)
        if batch is _END:
            self._epoch, self._count = self._epoch + 1, 0
            batch = self._begin(skip=0)
        if batch is _END:
            raise TrainingError(
                f"{self._kind} gave no batch in epoch {self._epoch}: it is empty, holds less than one batch, or is a "
                "generator that is used up. Give batches that can be iterated again."
            )
        return batch

    def _begin(self, *, skip: int) -> Any:
        with seeded(derive_seed(self._seed, Purpose.EPOCH, self._epoch), self._device):
            self._iterator = iter(self._batches)
            for _ in range(skip):
                next(self._iterator, None)
            return next(self._iterator, _END)


def to_device(data: Tensor | NDArray[Any], device: torch.device) -> Tensor:
    """An array or tensor as float32 on a device: uint8 is scaled to [0, 1], 4 and 5 axes are laid out channels last.

    Floats stay as they are, and Booleans become 0 and 1. Raises `TypeError` for other types, whose range is unknown.
    """
    kind = str(data.dtype).removeprefix("torch.")
    if not (kind in ("uint8", "bool", "bfloat16") or kind.startswith("float")):
        raise TypeError(f"a batch holds {kind}; give uint8, which is scaled from 0–255 to [0, 1], or floats.")
    if isinstance(data, np.ndarray):
        data = torch.from_numpy(data if data.flags.writeable else data.copy())
    if device.type == "cuda" and data.device.type == "cpu":
        data = data.pin_memory()  # a copy from pageable memory would wait for the earlier steps
    moved = data.to(device, non_blocking=device.type == "cuda")
    scaled = moved.to(torch.float32) / 255 if moved.dtype == torch.uint8 else moved.to(torch.float32)
    layout = _LAYOUTS.get(scaled.ndim)
    return scaled if layout is None else scaled.contiguous(memory_format=layout)


def _data_of(batch: Any) -> Any:
    if isinstance(batch, tuple | list) and batch:
        batch = batch[0]
    data = batch if isinstance(batch, Tensor | np.ndarray) else getattr(batch, "data", None)
    if not isinstance(data, Tensor | np.ndarray):
        raise TypeError(f"a batch is {type(batch).__name__}; give a tensor, an array or an object with .data.")
    return data
