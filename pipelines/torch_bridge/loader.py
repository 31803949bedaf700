"""An iterator through torch's worker processes, in the iterator's own order."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..batching.batch import Batch
from ..batching.iteration import BatchIterator
from .dataset import TorchDataset
from .worker_batches import Delivery, WorkerFailure, WorkerLoop, survives_pickle

__all__ = ["TorchLoader"]


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

    One epoch per loop, continuing from the state; `state_dict()` is that of the last batch handed over. What a worker
    raises is raised here, as itself and in its turn. Starting a second loop ends the first; continuing the first then
    raises `RuntimeError`.
    """

    def __init__(self, iterator: BatchIterator, num_workers: int, **settings: Any) -> None:
        self.iterator = iterator
        self._dataset = TorchDataset(iterator, leads=False)
        sending = _Sending(self._dataset)
        self._make_loader = partial(DataLoader, sending, batch_size=None, num_workers=num_workers, **settings)
        self._loader = self._make_loader()
        self._live: weakref.ref[WorkerLoop] | None = None

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
        """Continue from a saved state, as the iterator would."""
        self.iterator.load_state_dict(state)

    def __iter__(self) -> Iterator[Batch]:
        self._end_loop()
        self._dataset.go_to(self.iterator.state_dict())
        loop = WorkerLoop(self.iterator, iter(self._loader))
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
