"""The only file here that knows torch: tensors out of batches, torch's loaders around iterators, a fast resizer.

    iterator ─▶ DevicePrefetcher ─▶ tensors on the GPU, one batch ahead
    iterator ─▶ TorchDataset ─▶ DataLoader / StatefulDataLoader     worker w of k makes batches w, w + k, w + 2k …
    iterator ─▶ torchdata_node ─▶ torchdata.nodes

Whatever carries the batches, `batch.state` is the state after that batch, and any of them can go on from it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..batching.quarantine import describe_failures
from ..errors import StateError
from .pass_note import Note
from .siblings import is_sibling
from .worker_batches import Deliveries, Delivery
from .worker_failure import WorkerFailure, survives_pickle

if TYPE_CHECKING:
    from ..batching.batch import Batch
    from ..batching.iteration import BatchIterator

__all__ = ["DevicePrefetcher", "TorchDataset", "TorchLoader", "batch_to_device", "torch_resize", "torchdata_node"]

NOTE_BYTES = 1 << 14  # torch fills more than 32 KB by several threads; who has done that cannot fork
NOBODY = (0, 0)


def torch_resize(source: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
    """Fill the target with the source, antialiased bilinear: both (height, width, channel) uint8.

    `torch.nn.functional.interpolate(..., mode="bilinear", antialias=True)` on uint8 in channels-last memory. That
    has a fast path for memory it recognises as such: contiguous, and the stride of the one picture a whole picture.
    """
    picture = torch.from_numpy(np.ascontiguousarray(source).reshape(1, *source.shape)).permute(0, 3, 1, 2)
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
        """Go on from a saved state, as the iterator would."""
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
    iterator's own for every number of workers. Arrays come as tensors. Workers are ahead of the consumer, so a loop
    that is broken off goes on only by `go_to(batch.state)` of the last batch consumed; `StatefulDataLoader` saves
    and restores by itself, for one number of workers.

    Workers that are started for an epoch know from a note which one it is: the first of those before them left in
    it where its pass began and where the next one begins, for a sibling that starts late may read it, too.
    """

    def __init__(self, iterator: BatchIterator, *, leads: bool = True) -> None:
        self.iterator = iterator
        self.leads = leads  # False where the consumer says before each pass where it begins, and lists failures
        self.unlisted = ""  # those of the last batch
        self._order = self._process = self._taken = 0
        self._shared: Note | None = None
        if leads:  # it must be there before a worker is
            self._note.read()
        self._start, self._ended = iterator.state_dict(), True
        self._skip: int | None = None  # batches of the next pass that were taken before a restore

    @property
    def _note(self) -> Note:
        if self._shared is None:
            memory = torch.zeros(NOTE_BYTES, dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
            self._shared = Note(memory, order=self._order, by=NOBODY, start=None, next=None)
        return self._shared

    def close(self) -> None:
        """Let go of the memory that is shared with workers, which must be gone; `go_to` makes it anew."""
        self._shared = None

    def go_to(self, state: dict[str, Any]) -> None:
        """Make this process and every worker, running or not, begin its next pass at a state."""
        self.iterator.load_state_dict(state)
        self._note.write(order=self._note.read()["order"] + 1, by=NOBODY, start=state, next=state)

    def _find_start(self, worker: Any) -> None:
        """Bring the iterator to where this process's next pass begins."""
        note, here = self._note.read(), os.getpid()
        anew = not self.leads or (self._order, self._process) != (note["order"], here)
        self._order, self._process = note["order"], here
        if self._skip is None and anew:
            self.iterator.load_state_dict(self._noted(note, worker))
        elif self._skip is None and worker is not None:  # all alike, also those ahead of a loop that was broken off
            self.iterator.load_state_dict(self._start)
            if not self._ended:
                self.iterator.end_pass(self._start["epoch"])

    def _noted(self, note: dict[str, Any], worker: Any) -> dict[str, Any]:
        """Where the first pass of a process begins."""
        noted: dict[str, Any] | None = note["start" if is_sibling(worker, *note["by"]) else "next"]
        return noted or self.iterator.state_dict()

    def __iter__(self) -> Iterator[Batch]:
        worker, iterator = get_worker_info(), self.iterator
        number, num_workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        self._find_start(worker)
        iterator.begin_pass()
        epoch = iterator.epoch
        self._start, self._taken, self._skip, self._ended = iterator.state_dict(), self._skip or 0, None, False
        jobs = iterator.jobs(worker=number, num_workers=num_workers, skip=self._taken)
        threads = iterator.filling_threads(jobs)
        try:
            for job in threads:
                batch = batch_to_device(iterator.hand_over(job, listed=self.leads))
                self._taken, self.unlisted = self._taken + 1, describe_failures(job.failures)
                yield batch
        finally:
            threads.close()
        iterator.end_pass(epoch)
        begun, self._start, self._taken, self._ended = self._start, iterator.state_dict(), 0, True
        if self.leads and number == 0 and self._note.read()["order"] == self._order:
            by = NOBODY if worker is None else (os.getpid(), worker.seed - worker.id)
            self._note.write(order=self._order, by=by, start=begun, next=self._start)

    def state_dict(self) -> dict[str, Any]:
        """This worker's place, as `StatefulDataLoader` saves it: where its pass begins, and batches taken of it."""
        now, taken = self.iterator.state_dict(), self._taken
        start = {**self._start, "substitutions": now["substitutions"]}
        if self._skip is not None:  # restored, and no pass begun since
            start, taken = now, self._skip
        elif self._process != os.getpid():  # no pass begun in this process
            start, taken = self._noted(self._note.read(), get_worker_info()), 0
        return {"start": start, "taken": taken, "global_batch": self.iterator.global_batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore this worker's place. Raises `StateError` for a state of other data or settings."""
        self.iterator.load_state_dict(state["start"])
        here = (self.iterator.state_dict(), self.iterator.global_batch)
        if state["taken"] and here != (state["start"], state["global_batch"]):
            raise StateError(
                f"{self.iterator.name}: the loader's state counts batches of other settings "
                f"({state['global_batch']} examples, now {here[1]}). Go on from the last `batch.state` instead."
            )
        self._skip = state["taken"]
        if getattr(get_worker_info(), "id", 0) == 0:  # fresh ones may take over
            self.iterator.end_pass(state["start"]["epoch"])
            after = self.iterator.state_dict()
            self._note.write(order=self._note.read()["order"], by=NOBODY, start=after, next=after)
            self.iterator.load_state_dict(state["start"])


class _Sending(IterableDataset):  # type: ignore[type-arg]
    """What a `TorchLoader`'s workers run."""

    def __init__(self, dataset: TorchDataset) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[Delivery]:
        worker = get_worker_info()
        try:
            for batch in self.dataset:
                yield batch, self.dataset.unlisted
        except Exception as error:
            if worker is None or not survives_pickle(error):
                raise
            yield WorkerFailure.of(error, worker.id)


class TorchLoader:
    """An iterator through worker processes: the same batches in the same order for any number of workers.

    num_workers   processes, each with the iterator's own `threads`; 0 stays in this process
    settings      anything else torch's `DataLoader` takes (`multiprocessing_context`, `prefetch_factor`, …)

    One epoch a loop, going on from the state; `state_dict()` is that of the last batch handed over. What a worker
    raises is raised here as itself, in its turn. A second loop ends the first.
    """

    def __init__(self, iterator: BatchIterator, num_workers: int, **settings: Any) -> None:
        self.iterator = iterator
        self._dataset = TorchDataset(iterator, leads=False)
        sending = _Sending(self._dataset)
        self._make_loader = partial(DataLoader, sending, batch_size=None, num_workers=num_workers, **settings)
        self._loader = self._make_loader()
        self._live: weakref.ref[Deliveries] | None = None

    @property
    def num_batches(self) -> int:
        """Batches of a whole epoch, of which `len` are left."""
        return self.iterator.num_batches

    def __len__(self) -> int:
        return len(self.iterator)

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch that was handed over."""
        return self.iterator.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state, as the iterator would."""
        self.iterator.load_state_dict(state)

    def __iter__(self) -> Iterator[Batch]:
        self._end_loop()
        self._dataset.go_to(self.iterator.state_dict())
        loop = Deliveries(self.iterator, iter(self._loader))
        self._live = weakref.ref(loop)
        return loop

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_live": None}

    def _end_loop(self) -> None:
        loop = self._live() if self._live is not None else None
        if loop is not None:
            loop.supersede()

    def close(self) -> None:
        """End a loop that is under way and all worker processes. The loader can be used again."""
        self._end_loop()
        self._loader = self._make_loader()  # the last one goes, and takes its workers with it
        self._dataset.close()
        self.iterator.close()


def torchdata_node(iterator: BatchIterator) -> Any:
    """The iterator as a `torchdata.nodes.BaseNode` with the iterator's own state; `ImportError` without torchdata."""
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
