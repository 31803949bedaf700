"""Batches on a device, the next one copied while the last is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ..batching.batch import Batch
from ..batching.iteration import BatchIterator
from ..tensors import batch_to_device

__all__ = ["DevicePrefetcher"]


class DevicePrefetcher:
    """Batches as tensors on a device, the next one copied while the last is used.

    On a CUDA device copies run on a stream of their own, from pinned memory; elsewhere batches pass as they come.
    One epoch of `batches` per loop. `state_dict()` is that of the last batch handed over, not of the one ahead.
    """

    def __init__(self, batches: BatchIterator, device: str | torch.device) -> None:
        self.batches, self.device = batches, torch.device(device)
        self._state: dict[str, Any] | None = None
        self.num_examples: int | None = None  # of the last batch handed over, without padding

    @property
    def num_batches(self) -> int:
        """Batches of a whole epoch, of which `len` are left."""
        return self.batches.num_batches

    def __len__(self) -> int:
        return len(self.batches)

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch that was handed over."""
        return self._state if self._state is not None else self.batches.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state, as the iterator would."""
        self.batches.load_state_dict(state)
        self._state = None

    def close(self) -> None:
        """End everything live; the state stays after the last batch that was handed over."""
        self.batches.close()

    def __iter__(self) -> Iterator[Batch]:
        if self._state is not None:  # the iterator may be one batch ahead of what was handed over
            self.batches.load_state_dict(self._state)
        self._state = self.batches.state_dict()
        moved = self._on_cuda() if self.device.type == "cuda" else self._moved()
        for batch in moved:
            self._state = batch.state
            yield batch

    def _moved(self) -> Iterator[Batch]:
        for batch in self.batches:
            self.num_examples = _num_examples(batch)
            yield batch_to_device(batch, self.device, non_blocking=False)

    def _on_cuda(self) -> Iterator[Batch]:
        stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        waiting: tuple[Batch, Any, int] | None = None
        for batch in self.batches:
            with torch.cuda.stream(stream):
                copy = batch_to_device(batch, self.device, pin_memory=True)
                ready = stream.record_event()
            if waiting is not None:
                yield self._ready(*waiting)
            waiting = (copy, ready, _num_examples(batch))
        if waiting is not None:
            yield self._ready(*waiting)

    def _ready(self, batch: Batch, event: Any, num_examples: int) -> Batch:
        current = torch.cuda.current_stream(self.device)
        current.wait_event(event)
        for tensor in (batch.data, batch.mask, batch.lengths):
            if isinstance(tensor, torch.Tensor) and tensor.is_cuda:
                tensor.record_stream(current)
        self.num_examples = num_examples
        return batch


def _num_examples(batch: Batch) -> int:
    """Examples that are no padding, counted on the host."""
    return len(batch) if batch.mask is None else int(batch.mask.sum())
