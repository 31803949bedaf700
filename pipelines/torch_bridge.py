"""The only file here that knows torch: tensors out of batches, torch's loaders around iterators, a fast resizer.

    iterator ─▶ DevicePrefetcher ─▶ tensors on the GPU, one batch ahead
    iterator ─▶ TorchDataset ─▶ DataLoader / StatefulDataLoader     worker w of k makes batches w, w + k, w + 2k …
    iterator ─▶ torchdata_node ─▶ torchdata.nodes

Whatever carries the batches, `batch.state` is the state after that batch, and any of them can go on from it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

if TYPE_CHECKING:
    from .batch import Batch
    from .batches import BatchIterator

__all__ = ["DevicePrefetcher", "TorchDataset", "TorchLoader", "batch_to_device", "torch_resize", "torchdata_node"]

SHARED_STATE_BYTES = 1 << 18


def torch_resize(source: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
    """Fill the target with the source, antialiased bilinear: both (height, width, channel) uint8.

    `torch.nn.functional.interpolate(..., mode="bilinear", antialias=True)` on uint8 in channels-last memory.
    """
    picture = torch.from_numpy(source).permute(2, 0, 1)[None]
    resized = F.interpolate(picture, size=target.shape[:2], mode="bilinear", antialias=True)
    target[...] = resized[0].permute(1, 2, 0).numpy()


def batch_to_device(
    batch: Batch, device: str | torch.device = "cpu", *, non_blocking: bool = True, pin_memory: bool = False
) -> Batch:
    """The same batch with `data`, `mask` and `lengths` as tensors on a device; channels-last memory stays so.

    With `pin_memory` the copy goes through page-locked memory, so that it can overlap with computation.
    """

    def move(array: Any) -> Any:
        if isinstance(array, np.ndarray) and array.dtype.kind in "biuf":
            array = torch.from_numpy(array)
        if not isinstance(array, torch.Tensor):
            return array
        return (array.pin_memory() if pin_memory else array).to(device, non_blocking=non_blocking)

    return batch.replace(data=move(batch.data), mask=move(batch.mask), lengths=move(batch.lengths))


class DevicePrefetcher:
    """Batches as tensors on a device, the next one copied while the last is used.

    On a CUDA device copies run on a stream of their own, from pinned memory; elsewhere batches pass as they come.
    One epoch of `batches` a loop. `state_dict()` is that of the last batch handed over, not of the one ahead.
    """

    def __init__(self, batches: BatchIterator, device: str | torch.device) -> None:
        self.batches, self.device = batches, torch.device(device)
        self._state: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.batches)

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch that was handed over."""
        return self._state if self._state is not None else self.batches.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state, as the iterator would."""
        self.batches.load_state_dict(state)
        self._state = None

    def __iter__(self) -> Iterator[Batch]:
        if self._state is not None:  # the iterator may be one batch ahead of what was handed over
            self.load_state_dict(self._state)
        moved = self._on_cuda() if self.device.type == "cuda" else self._moved()
        for batch in moved:
            self._state = batch.state
            yield batch

    def _moved(self) -> Iterator[Batch]:
        for batch in self.batches:
            yield batch_to_device(batch, self.device, non_blocking=False)

    def _on_cuda(self) -> Iterator[Batch]:
        stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        waiting: tuple[Batch, Any] | None = None
        for batch in self.batches:
            with torch.cuda.stream(stream):
                copy = batch_to_device(batch, self.device, pin_memory=True)
                ready = stream.record_event()
            if waiting is not None:
                yield self._ready(*waiting)
            waiting = (copy, ready)
        if waiting is not None:
            yield self._ready(*waiting)

    def _ready(self, batch: Batch, event: Any) -> Batch:
        current = torch.cuda.current_stream(self.device)
        current.wait_event(event)
        for tensor in (batch.data, batch.mask, batch.lengths):
            if isinstance(tensor, torch.Tensor) and tensor.is_cuda:
                tensor.record_stream(current)
        return batch


class TorchDataset(IterableDataset):  # type: ignore[type-arg]
    """An iterator as torch's `IterableDataset`; give it to a `DataLoader` with `batch_size=None`.

    Worker w of k makes batches w, w + k, … with the iterator's `threads` in each, so the loader's order is the
    iterator's own for every number of workers. Arrays come as tensors. To go on elsewhere, load `batch.state` of
    the last batch consumed; `StatefulDataLoader` saves and restores it by itself, for one number of workers.
    """

    def __init__(self, iterator: BatchIterator) -> None:
        self.iterator = iterator
        self._shared = torch.zeros(SHARED_STATE_BYTES, dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
        self._seen_generation = 0
        self._start = iterator.state_dict()
        self._taken = self._skip = 0

    def go_to(self, state: dict[str, Any]) -> None:
        """Make this process and every worker, running or not, begin its next pass at a state."""
        self.iterator.load_state_dict(state)
        self._publish(state)

    def _publish(self, state: dict[str, Any]) -> None:
        """Write a state where all processes see it; workers that are started later begin there."""
        message = json.dumps(state).encode()
        if len(message) + 8 > SHARED_STATE_BYTES:
            raise ValueError(f"a state of {len(message):,} bytes does not fit; mix fewer sources.")
        header = np.array([self._generation() + 1, len(message)], np.uint32).tobytes()
        self._shared[: 8 + len(message)] = torch.frombuffer(bytearray(header + message), dtype=torch.uint8)
        self._seen_generation = self._generation()

    def _generation(self) -> int:
        return int(self._shared[:4].numpy().view(np.uint32)[0])

    def _catch_up(self) -> None:
        """Take up a state that another process has published since this one's last pass."""
        if self._generation() != self._seen_generation:
            length = int(self._shared[4:8].numpy().view(np.uint32)[0])
            self.iterator.load_state_dict(json.loads(self._shared[8 : 8 + length].numpy().tobytes()))
            self._seen_generation, self._skip = self._generation(), 0

    def __iter__(self) -> Iterator[Batch]:
        self._catch_up()
        worker = get_worker_info()
        number, num_workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        iterator = self.iterator
        iterator.begin_pass()
        epoch = iterator.epoch
        self._start, self._taken, self._skip = iterator.state_dict(), self._skip, 0
        jobs = iterator.jobs(worker=number, num_workers=num_workers, skip=self._taken)
        threads = iterator.filling_threads(jobs)
        try:
            for job in threads:
                batch = batch_to_device(iterator.hand_over(job))
                self._taken += 1
                yield batch
        finally:
            threads.close()
        iterator.end_pass(epoch)
        self._publish(iterator.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """This worker's place, as `StatefulDataLoader` saves it: where its pass began, and batches since."""
        return {"start": self._start, "taken": self._taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore this worker's place. Raises `StateError` for a state of other data or settings."""
        self.iterator.load_state_dict(state["start"])
        self._skip, self._seen_generation = state["taken"], self._generation()

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)


class TorchLoader:
    """An iterator through worker processes: the same batches in the same order for any number of workers.

    num_workers   processes, each with the iterator's own `threads`; 0 stays in this process
    settings      anything else torch's `DataLoader` takes (`multiprocessing_context`, `prefetch_factor`, …)

    One epoch a loop, going on from the state; `state_dict()` is that of the last batch handed over.
    """

    def __init__(self, iterator: BatchIterator, num_workers: int, **settings: Any) -> None:
        self.iterator = iterator
        self._dataset = TorchDataset(iterator)
        self._loader = DataLoader(self._dataset, batch_size=None, num_workers=num_workers, **settings)

    def __len__(self) -> int:
        return len(self.iterator)

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch that was handed over."""
        return self.iterator.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state, as the iterator would."""
        self.iterator.load_state_dict(state)

    def __iter__(self) -> Iterator[Batch]:
        start = self.iterator.state_dict()
        self._dataset.go_to(start)
        substitutions = start["substitutions"]
        for batch in self._loader:
            if batch.substituted is not None:
                counted = batch.substituted if batch.mask is None else batch.substituted & np.asarray(batch.mask)
                substitutions += int(counted.sum())
            state = {**batch.state, "substitutions": substitutions}
            self.iterator.load_state_dict(state)
            yield dataclasses.replace(batch, state=state)


def torchdata_node(iterator: BatchIterator) -> Any:
    """The iterator as a `torchdata.nodes.BaseNode`: its state is the iterator's own.

    Raises `ImportError` without torchdata.
    """
    try:
        from torchdata.nodes import BaseNode
    except ImportError as error:
        raise ImportError("torchdata_node needs torchdata: pip install 'torchdata>=0.11,<0.12'.") from error

    class IteratorNode(BaseNode):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._pass: Iterator[Any] = iter(())

        def reset(self, initial_state: dict[str, Any] | None = None) -> None:
            super().reset(initial_state)
            if initial_state is not None:
                iterator.load_state_dict(initial_state["iterator"])
            self._pass = iter(iterator)

        def next(self) -> Any:
            return next(self._pass)

        def get_state(self) -> dict[str, Any]:
            return {"iterator": iterator.state_dict()}

    return IteratorNode()
