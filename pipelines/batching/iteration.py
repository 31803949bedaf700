"""Batches, one epoch per loop: what every iterator shares.

a subclass says what stands in the slots ─▶ batch_job.py: one batch ─▶ threads.py: several, ahead, in order
                                                                            │ one for each next()
                     state: the position after the last batch that was handed over ◀──┘
"""

from __future__ import annotations

import contextlib
import warnings
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..child_process import usable_cores
from ..errors import ExampleError, PipelineError
from ..modality import find_modality
from .batch import Batch
from .batch_job import BatchJob, ExampleSpec, Slots
from .fields import absent_fields, near_field
from .options import ReadOptions
from .quarantine import add_to_quarantine, describe_failures
from .stats import Counters, Stats
from .threads import PIECE, DecodeThreads

__all__ = ["BatchIterator", "BatchLoop", "PlanSlots", "ThreadLoop"]

LOOK_AHEAD = 4096
MAX_THREADS = 16
LOOKED_AT = 8
"""Examples whose members are searched for a name similar to a misspelt one."""

PlanSlots = Callable[[NDArray[np.int64]], Slots]
"""Positions of the epoch in progress → what stands in their slots."""


class BatchIterator(ABC):
    """The loop, the threads and the position; a subclass brings the order and the state.

    Iterating continues from the state: `break` leaves it after the last batch that was handed over; a second `iter`
    ends the first. Nothing live (thread, open file) exists before the first batch or after `close()`.
    """

    modality = "image"

    def __init__(
        self, name: str, specs: Sequence[ExampleSpec], options: ReadOptions, *, examples: int, counters: Counters
    ) -> None:
        self.name, self._specs, self._split, self._counters = name, specs, options.split, counters
        self.threads = options.threads or min(MAX_THREADS, usable_cores())
        self.prefetch_bytes, self.max_substitutions = options.prefetch_bytes, options.max_substitutions
        self.quarantine = options.quarantine
        self._counters.set_threads(self.threads)
        self._epoch = self._position = self._substitutions = 0
        self._examples = examples
        self._fields_seen = self._rates_seen = False
        self._live: weakref.ref[BatchLoop] | None = None
        if not self._split.num_batches(0, examples):
            raise ValueError(
                f"{name}: {examples} examples do not fill one batch of {self.global_batch}, and tail='drop' "
                "leaves none. Use a smaller batch or another tail."
            )

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch that was handed over: JSON, always the same keys."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state. Raises `StateError` for a state of other data or settings."""

    @abstractmethod
    def _plan(self) -> PlanSlots:
        """The order of the epoch in progress."""

    @abstractmethod
    def _announce(self, slots: Slots) -> None:
        """Tell sources which examples are read next."""

    @abstractmethod
    def _move(self, position: int) -> None:
        """Move the state to a position of the epoch; its end is the beginning of the next one."""

    @property
    def batch_size(self) -> int:
        """Examples of this rank in a batch."""
        return self._split.batch_size

    @property
    def rank(self) -> int:
        """Which of `world_size` processes this one is."""
        return self._split.rank

    @property
    def world_size(self) -> int:
        """How many processes divide a batch."""
        return self._split.world_size

    @property
    def global_batch(self) -> int:
        """Examples of all ranks in a batch."""
        return self._split.global_batch

    @property
    def epoch(self) -> int:
        """The epoch in progress, from 0."""
        return self._epoch

    @property
    def position(self) -> int:
        """Examples of the epoch delivered so far, over all ranks."""
        return self._position

    @property
    def stats(self) -> Stats:
        """What has been done since the iterator was made, and where the time went."""
        fetched: dict[str, Any] = {}
        for spec in self._specs:
            for name, amount in spec.source.fetch_counts.items():
                fetched[name] = fetched.get(name, 0) + amount
        return replace(self._counters.stats(), **fetched)

    @property
    def num_batches(self) -> int:
        """Batches of a whole epoch, of which `len` are left."""
        return self._split.num_batches(0, self._examples)

    def __len__(self) -> int:
        """Batches left in this epoch; all of the next where only an incomplete one is left and dropped."""
        return self._split.num_batches(self._position, self._examples) or self.num_batches

    def __iter__(self) -> Iterator[Batch]:
        self.close_epoch()
        self.begin_pass()
        loop = ThreadLoop(self, self.jobs)
        self._live = weakref.ref(loop)
        return loop

    def superseded(self) -> RuntimeError:
        """The error of a loop that something else has ended."""
        return RuntimeError(
            f"{self.name}: this loop was ended by another over the same iterator, or by close(), reset() or "
            "load_state_dict(). Make an iterator for each loop that runs at the same time."
        )

    def begin_pass(self) -> None:
        """Before a pass over the rest of the epoch: skip an incomplete batch that would be dropped."""
        if not self._split.num_batches(self._position, self._examples):
            self._move(self._examples)

    def end_pass(self, epoch: int) -> None:
        """After a pass over an epoch that took every batch, or a worker's share of them: move to the next epoch."""
        if self._epoch == epoch:
            self._move(self._examples)

    def __getitem__(self, index: object) -> NoReturn:
        raise TypeError(
            f"{self.name}: batches are iterated over, not indexed. `open_source(data)[0]` is an example; for torch's "
            "DataLoader there are `TorchLoader(iterator, num_workers)` and `TorchDataset`."
        )

    def close_epoch(self) -> None:
        """End an iteration that is under way and its threads; the state stays where it is."""
        loop = self._live() if self._live is not None else None
        if loop is not None:
            loop.supersede()
        self._live = None

    def close(self) -> None:
        """End everything live. The iterator can be used again; it opens what it needs."""
        self.close_epoch()
        for spec in self._specs:
            spec.source.close()

    def jobs(self, *, worker: int = 0, num_workers: int = 1, skip: int = 0) -> Iterator[BatchJob]:
        """The batches left in this epoch; of several workers in turn, those of one worker but for its first `skip`."""
        split, num, plan = self._split, self._examples, self._plan()
        starts = range(self._position, num, split.global_batch)[: split.num_batches(self._position, num)]
        mine = starts[worker::num_workers][skip:]
        ahead = -(-max(spec.source.examples_ahead for spec in self._specs) // split.batch_size)
        done, together, announced = 0, 1, 0
        while done < len(mine):
            cuts = [split.positions(start, num) for start in mine[done : done + together]]
            slots = plan(np.concatenate([positions for positions, _ in cuts]))
            if not ahead:
                self._announce(slots)
            elif further := mine[announced : done + together + ahead]:
                positions = np.concatenate([split.positions(start, num)[0] for start in further])
                self._announce(plan(positions))
                announced += len(further)
            begin = 0
            for start, (positions, mask) in zip(mine[done : done + together], cuts, strict=True):
                stop = num if start == starts[-1] else start + split.global_batch
                yield BatchJob(self._specs, slots.part(begin, begin + len(positions)), mask, next_position=stop)
                begin += len(positions)
            done, together = done + together, max(1, LOOK_AHEAD // split.batch_size)

    def hand_over(self, job: BatchJob, *, listed: bool = True) -> Batch:
        """The finished batch; the state moves to after it. An error leaves the state before it.

        Its failures go to the quarantine file now, or where they are not to be `listed` stay with the job.
        """
        substituted = self._substitutions + job.num_substituted
        self.check_substitutions(substituted)
        unfinished = job.batch({})
        if listed:
            self.list_failures(describe_failures(job.failures))
        self._substitutions = substituted
        self._move(job.next_position)
        self._counters.add(examples=len(unfinished), substituted=job.num_substituted)
        self._warn_of_absent_fields(unfinished)
        self._warn_of_mixed_rates(job.mixed_rates)
        return unfinished.replace(state=self.state_dict())

    def _warn_of_absent_fields(self, batch: Batch) -> None:
        """Once, at the first batch: a name may be misspelt."""
        absent, self._fields_seen = [] if self._fields_seen else absent_fields(batch.fields), True
        for name in absent:
            what = f"{self.name}: no example of the first batch has a field {name!r}, so it is None."
            is_member = name not in getattr(self._specs[0].decoder, "fields", ())  # and not made by the decoder
            near = near_field(name, self._members_of(batch)) if is_member else None
            meant = "" if near is None else f" Did you mean {near!r}?"
            hint = " `list(open_source(data)[0].fields)` shows what there is." if is_member else ""
            warnings.warn(what + meant + hint, stacklevel=3)

    def _members_of(self, batch: Batch) -> set[str]:
        """The members of the first examples of a batch, as far as they can be read."""
        source, found = self._specs[0].source, set[str]()
        with contextlib.suppress(PipelineError):
            for index in batch.indices[:LOOKED_AT].tolist():
                if 0 <= index < len(source):  # those of another stream may lie beyond
                    found |= set(source.locate(index).fields)
        return found

    def _warn_of_mixed_rates(self, mixed: tuple[str, str] | None) -> None:
        """Once: clips of two rates in one batch are rarely meant."""
        if mixed is not None and not self._rates_seen:
            self._rates_seen = True
            media = find_modality(self._specs[0].source.modality or self.modality)
            rates = " and ".join(f"{each} {media.rate_unit}" for each in mixed)
            what = f"{self.name}: {rates}, in one batch"
            warnings.warn(f"{what}. {media.rate_setting}=… resamples all alike.", stacklevel=3)

    def list_failures(self, lines: str) -> None:
        """Add lines of `describe_failures` to the quarantine file, if there is one."""
        if lines and self.quarantine is not None:
            add_to_quarantine(self.quarantine, lines)

    def check_substitutions(self, num: int) -> None:
        """Raise `ExampleError` if there are more substitutes than are allowed."""
        if num > self.max_substitutions:
            reason = f"more than max_substitutions={self.max_substitutions} examples could not be decoded"
            raise ExampleError(self.name, "…", reason, remedy="Repair the data, or allow more.")

    def decode_threads(self, jobs: Iterator[BatchJob]) -> DecodeThreads[BatchJob]:
        """Threads that work on these jobs, as far ahead as `prefetch_bytes` allows."""
        one = self._specs[0].decoder.allocate(1)
        ahead = self.ahead(self.batch_size * one.nbytes) if one is not None else 2  # until a batch has been seen
        return DecodeThreads(jobs, threads=self.threads, ahead=ahead)

    def ahead(self, batch_bytes: int) -> int:
        """How many batches of this size may be under way: enough for all threads, within `prefetch_bytes`."""
        enough = 2 + 2 * self.threads * PIECE // self.batch_size
        return max(1, min(enough, self.prefetch_bytes // max(1, batch_bytes)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_live": None}


class BatchLoop(Iterator[Batch], ABC):
    """One pass over the rest of an epoch. It moves its iterator's state with every batch it hands over.

    The loop is over for good when something else ends it: continuing it then is a mistake, and raises `RuntimeError`.
    """

    def __init__(self, owner: BatchIterator) -> None:
        self._owner = owner
        self._closed = self._superseded = False

    @abstractmethod
    def _take(self) -> Batch:
        """The next batch, with the iterator's state moved to after it. Raises `StopIteration` at the end."""

    @abstractmethod
    def _let_go(self) -> None:
        """Stop the threads or processes that work ahead."""

    def _is_overtaken(self) -> bool:
        """Whether something else has moved the iterator since the last batch."""
        return False

    def __next__(self) -> Batch:
        if not self._closed and self._is_overtaken():
            self.supersede()
        if self._superseded:
            raise self._owner.superseded()
        if self._closed:
            raise StopIteration
        try:
            return self._take()
        except BaseException:
            self.close()
            raise

    def supersede(self) -> None:
        """Stop before the end, from outside."""
        self._superseded = not self._closed
        self.close()

    def close(self) -> None:
        """Stop; iterating further ends at once."""
        self._closed = True
        self._let_go()


class ThreadLoop(BatchLoop):
    """Batches that threads of this process make ahead, of the jobs that `jobs()` gives when the first one is taken.

    With `listed`, failures go to the quarantine file; without, those of the last batch are its lines in `unlisted`.
    """

    def __init__(
        self, owner: BatchIterator, jobs: Callable[[], Iterator[BatchJob]], *, listed: bool = True
    ) -> None:
        super().__init__(owner)
        self._jobs, self._listed = jobs, listed
        self._threads: DecodeThreads[BatchJob] | None = None
        self._handed_over = 0.0
        self.unlisted = ""

    def _take(self) -> Batch:
        entered, owner = perf_counter(), self._owner
        if self._threads is None:
            self._threads = owner.decode_threads(self._jobs())
        ready, job = self._threads.num_ready, next(self._threads)
        batch = owner.hand_over(job, listed=self._listed)
        self.unlisted = "" if self._listed else describe_failures(job.failures)
        self._threads.ahead = owner.ahead(batch.data.nbytes)
        left = perf_counter()
        between = entered - self._handed_over if self._handed_over else 0.0
        owner._counters.add(wait_seconds=left - entered, consumer_seconds=between, batches=1, ready=ready)
        self._handed_over = left
        return batch

    def _let_go(self) -> None:
        if self._threads is not None:
            self._threads.close()
