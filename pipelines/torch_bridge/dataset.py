"""An iterator as torch's `IterableDataset`: worker w of k makes batches w, w + k, w + 2k …"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from ..batching.batch import Batch
from ..batching.iteration import BatchIterator, ThreadLoop
from ..batching.state import check_counts, check_keys
from ..errors import StateError
from ..tensors import batch_to_device
from .pass_note import Note, is_sibling

__all__ = ["TorchDataset"]

NOTE_BYTES = 1 << 14  # torch fills more than 32 KB by several threads; who has done that cannot fork
NOBODY = (0, 0)
STATE_KEYS = ("start", "taken", "global_batch")


class TorchDataset(IterableDataset):  # type: ignore[type-arg]
    """An iterator as torch's `IterableDataset`; give it to a `DataLoader` with `batch_size=None`.

    Worker w of k makes batches w, w + k, … with the iterator's `threads` in each, so the loader's order is the
    iterator's own for every number of workers. Arrays come as tensors. Workers are ahead of the consumer, so a loop
    that stops early continues only by `go_to(batch.state)` of the last batch consumed; `StatefulDataLoader` saves
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
        """Let go of the memory that is shared with workers, which must be gone; `go_to` makes it again."""
        self._shared = None

    def go_to(self, state: dict[str, Any]) -> None:
        """Make this process and every worker, running or not, begin its next pass at a state."""
        self.iterator.load_state_dict(state)
        state = self.iterator.state_dict()  # without what else was in it: the note has little room
        self._note.write(order=self._note.read()["order"] + 1, by=NOBODY, start=state, next=state)

    def _find_start(self, worker: Any) -> None:
        """Bring the iterator to where this process's next pass begins."""
        note, here = self._note.read(), os.getpid()
        is_new = not self.leads or (self._order, self._process) != (note["order"], here)
        self._order, self._process = note["order"], here
        if self._skip is None and is_new:
            self.iterator.load_state_dict(self._noted(note, worker))
        elif self._skip is None and worker is not None:  # all alike, also those ahead of a loop that stopped early
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
        jobs = partial(iterator.jobs, worker=number, num_workers=num_workers, skip=self._taken)
        loop = ThreadLoop(iterator, jobs, listed=self.leads)
        try:
            for batch in loop:
                self._taken, self.unlisted = self._taken + 1, loop.unlisted
                yield batch_to_device(batch)
        finally:
            loop.close()
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
        check_keys(state, dict.fromkeys(STATE_KEYS), self.iterator.name)
        check_counts(state, STATE_KEYS[1:], self.iterator.name)
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
