"""The iterator: shuffled batches from a source, resumable at every one of them.

order.py: position → index      sources: index → bytes      decode: bytes, place → array
             └───────────────┬──────────────┴───────────────────┘
                     filling.py: one batch          workers.py: several, ahead, in order
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np

from .batch import Batch
from .decode.decoder import Decoder, FunctionDecoder
from .errors import ExampleError
from .filling import BatchJob, Recipe, Transform
from .order import EpochOrder, Shuffle
from .ranks import RankSplit, Tail
from .sources.opening import SourceLike, open_source
from .sources.source import Source
from .sources.subset import Selection
from .state import Identity, check_state, state_dict
from .stats import Counters, Stats
from .workers import FillingThreads

__all__ = ["DataIterator"]

LOOK_AHEAD = 4096
MAX_THREADS = 16


@dataclass(frozen=True)
class _Span:
    """The data an epoch runs over: all of the source, or the prefix it had when the epoch began."""

    examples: int
    data_hash: str


class DataIterator:
    """Batches of a source, one epoch for each `for` loop; its state is a position, under 1 KB of JSON.

    source          what `open_source` takes: a folder, a tar, a pattern, a list, or a `Source`
    decode          a `Decoder`, or a function `(example, rng) -> array`
    batch_size      examples of this rank in a batch
    shuffle         False: as stored; True: uniformly over the whole set; "files": whole files in random order
    shuffle_shards  with shuffle=True: uniformly within windows of this many shards, for storage where reading at
                    random is dear
    seed            the order and all randomness in decoding follow from it
    groups          the epoch is this many interleaved streams over disjoint stretches of the set
    rank, world_size, tail   the share of this process, and the end of an epoch: see `RankSplit`
    threads         that decode; by default the cores this process may use, 16 at most
    prefetch_bytes  bound on the decoded batches that wait, in bytes
    fields          members of the examples to deliver beside the data, by suffix: see `fields.gather_field`
    transform       `(array, rng, example) -> array`, for each example
    select, limit   only these indices of the source; only this many examples
    on_error        "raise", or "substitute": an example that cannot be decoded is replaced by another, drawn by
                    its position, marked in the batch
    max_substitutions   how many, over the iterator's whole life, before the next one raises

    Iterating goes on from the state: `break` leaves it after the last batch that was handed over. Nothing live
    (thread, open file) exists before the first batch or after `close()`; an iterator can be pickled and copied.
    """

    modality = "image"

    def __init__(
        self,
        source: SourceLike,
        decode: Decoder | Callable[..., Any],
        *,
        batch_size: int = 64,
        shuffle: Shuffle = False,
        shuffle_shards: int | None = None,
        seed: int = 0,
        groups: int = 1,
        rank: int | None = None,
        world_size: int | None = None,
        tail: Tail | None = None,
        threads: int | None = None,
        prefetch_bytes: int = 256 << 20,
        fields: Sequence[str] = (),
        transform: Transform | None = None,
        select: Sequence[int] | None = None,
        limit: int | None = None,
        on_error: Literal["raise", "substitute"] = "raise",
        max_substitutions: int = 1000,
    ) -> None:
        self._split = RankSplit.resolve(batch_size, rank=rank, world_size=world_size, groups=groups, tail=tail)
        _check_choices(shuffle, shuffle_shards, seed, threads, on_error)
        self.source = _chosen(open_source(source, modality=self.modality), select, limit)
        self.decoder = decode if isinstance(decode, Decoder) else FunctionDecoder(decode)
        self.shuffle, self.shuffle_shards, self.seed = shuffle, shuffle_shards, seed
        self.threads = threads or min(MAX_THREADS, _usable_cores())
        self.prefetch_bytes, self.max_substitutions = prefetch_bytes, max_substitutions
        self._counters = Counters()
        self._recipe = Recipe(
            self.source, self.decoder, tuple(fields), transform, on_error == "substitute", self._counters
        )
        self._span = _Span(len(self.source), self.source.data_hash)
        self._epoch = self._position = self._substitutions = 0
        self._live: weakref.ref[_Epoch] | None = None
        if not self._split.num_batches(0, len(self.source)):
            raise ValueError(
                f"{self.source.name}: {len(self.source)} examples do not fill one batch of "
                f"{self._split.global_batch}, and tail='drop' leaves none. Use a smaller batch or another tail."
            )

    @property
    def batch_size(self) -> int:
        """Examples of this rank in a batch."""
        return self._split.batch_size

    @property
    def data_hash(self) -> str:
        """Identifies the data of the epoch in progress: 32 hexadecimal digits."""
        return self._span.data_hash

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
        return self._counters.stats()

    def __len__(self) -> int:
        """Batches left in this epoch; all of the next where only an incomplete one is left and dropped."""
        left = self._split.num_batches(self._position, self._span.examples)
        return left or self._split.num_batches(0, len(self.source))

    def __iter__(self) -> Iterator[Batch]:
        self.close_epoch()
        if not self._split.num_batches(self._position, self._span.examples):
            self._advance(self._span.examples)
        epoch = _Epoch(self)
        self._live = weakref.ref(epoch)
        return epoch

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch that was handed over: JSON, always the same keys."""
        return state_dict(self._identity(), self._epoch, self._position, self._substitutions)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state. Threads, batch size, tail, rank and world size may be others.

        Data that only grew by appending is accepted: the epoch in progress ends over what it began with. Raises
        `StateError` for a state of other data or settings, naming what differs.
        """
        identity = self._identity(_Span(len(self.source), self.source.data_hash))
        check_state(state, identity, self.source.prefix_hash, self.source.name)
        self.close_epoch()
        self._span = _Span(state["examples"], state["data_hash"])
        self._epoch, self._position = state["epoch"], state["position"]
        self._substitutions = state["substitutions"]

    def reset(self, epoch: int = 0, position: int = 0) -> None:
        """Jump to a position of an epoch, over all of the source. Raises `ValueError` outside of it."""
        if epoch < 0 or not 0 <= position < len(self.source):
            raise ValueError(f"epoch {epoch}, position {position}: not within [0, {len(self.source)}) of an epoch.")
        self.close_epoch()
        self._span = _Span(len(self.source), self.source.data_hash)
        self._epoch, self._position = epoch, position

    def close_epoch(self) -> None:
        """End an iteration that is under way and its threads; the state stays where it is."""
        epoch = self._live() if self._live is not None else None
        if epoch is not None:
            epoch.close()
        self._live = None

    def close(self) -> None:
        """End everything live. The iterator can be used again; it opens what it needs."""
        self.close_epoch()
        self.source.close()

    def _identity(self, span: _Span | None = None) -> Identity:
        span = span or self._span
        return Identity(
            self.seed, self.shuffle, self.shuffle_shards, self._split.groups, span.examples, span.data_hash
        )

    def _order(self) -> EpochOrder:
        counts = None
        if self.shuffle_shards is not None:
            stops = np.minimum(np.cumsum(self.source.shard_counts), self._span.examples)
            counts = np.diff(stops, prepend=0)
        return EpochOrder(
            self._span.examples,
            seed=self.seed,
            epoch=self._epoch,
            shuffle=True if self.shuffle == "files" else self.shuffle,  # a file holds one example here
            groups=self._split.groups,
            shuffle_shards=self.shuffle_shards,
            counts=counts,
        )

    def _jobs(self) -> Iterator[BatchJob]:
        """The batches left in this epoch; indices are worked out for several at once."""
        split, num, order = self._split, self._span.examples, self._order()
        start, epoch = self._position, self._epoch
        left = split.num_batches(start, num)
        first = True
        while left:
            together = 1 if first else min(left, max(1, LOOK_AHEAD // split.batch_size))
            cuts = [split.positions(start + step * split.global_batch, num) for step in range(together)]
            indices = order(np.concatenate([positions for positions, _ in cuts]))
            ends = np.cumsum([len(positions) for positions, _ in cuts])
            for (positions, mask), own in zip(cuts, np.split(indices, ends[:-1]), strict=True):
                start = min(start + split.global_batch, num)
                left, first = left - 1, False
                yield BatchJob(
                    self._recipe,
                    positions=positions,
                    indices=own,
                    mask=mask,
                    seed=self.seed,
                    epoch=epoch,
                    num_examples=num,
                    next_position=start if left else num,
                )

    def _advance(self, position: int, substituted: int = 0) -> None:
        """Move the state to after a batch; the end of an epoch is the beginning of the next."""
        self._position, self._substitutions = position, self._substitutions + substituted
        if position >= self._span.examples:
            self._epoch, self._position = self._epoch + 1, 0
            self._span = _Span(len(self.source), self.source.data_hash)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_live": None}

    def __repr__(self) -> str:
        split = self._split
        ranks = f", rank={split.rank} of {split.world_size}" if split.world_size > 1 else ""
        return (
            f"{type(self).__name__}({self.source!r}, {self.decoder!r}, batch_size={split.batch_size}, "
            f"shuffle={self.shuffle!r}, seed={self.seed}{ranks}, epoch={self._epoch}, position={self._position})"
        )


class _Epoch(Iterator[Batch]):
    """One pass over what is left of an epoch. It moves its iterator's state with every batch it hands over."""

    def __init__(self, owner: DataIterator) -> None:
        self._owner = owner
        self._threads: FillingThreads[BatchJob] | None = None
        self._closed = False
        self._handed_over = 0.0

    def __next__(self) -> Batch:
        if self._closed:
            raise StopIteration
        entered = perf_counter()
        if self._threads is None:
            self._threads = self._start()
        try:
            job = next(self._threads)
            batch = self._hand_over(job)
        except BaseException:
            self.close()
            raise
        left = perf_counter()
        self._owner._counters.add(
            examples=len(batch),
            wait_seconds=left - entered,
            consumer_seconds=entered - self._handed_over if self._handed_over else 0.0,
        )
        self._handed_over = left
        return batch

    def _start(self) -> FillingThreads[BatchJob]:
        owner = self._owner
        one = owner.decoder.allocate(1)
        batch_bytes = owner.batch_size * (one.nbytes if one is not None else 1 << 20)
        enough = 2 + 2 * owner.threads * 8 // owner.batch_size
        ahead = max(1, min(enough, owner.prefetch_bytes // max(1, batch_bytes)))
        return FillingThreads(owner._jobs(), threads=owner.threads, ahead=ahead)

    def _hand_over(self, job: BatchJob) -> Batch:
        owner, substituted = self._owner, job.num_substituted
        if owner._substitutions + substituted > owner.max_substitutions:
            raise ExampleError(
                owner.source.name,
                "…",
                f"more than max_substitutions={owner.max_substitutions} examples could not be decoded",
            )
        before = (owner._epoch, owner._position, owner._substitutions, owner._span)
        owner._advance(job.next_position, substituted)
        try:
            batch = job.batch(owner.state_dict())
        except BaseException:
            owner._epoch, owner._position, owner._substitutions, owner._span = before
            raise
        owner._counters.add(substituted=substituted)
        return batch

    def close(self) -> None:
        """Stop the threads; iterating further ends at once."""
        self._closed = True
        if self._threads is not None:
            self._threads.close()


def _chosen(source: Source, select: Sequence[int] | None, limit: int | None) -> Source:
    if select is not None:
        source = Selection(source, select)
    if limit is not None:
        if limit < 1:
            raise ValueError(f"limit is {limit}; it must be at least 1.")
        source = Selection(source, range(min(limit, len(source))))
    return source


def _check_choices(
    shuffle: Shuffle, shuffle_shards: int | None, seed: int, threads: int | None, on_error: str
) -> None:
    if shuffle not in (True, False, "files"):
        raise ValueError(f"shuffle is {shuffle!r}; it must be True, False or 'files'.")
    if shuffle_shards is not None and (shuffle_shards < 1 or shuffle is not True):
        raise ValueError("shuffle_shards is a whole number from 1 up, and goes with shuffle=True.")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise TypeError(f"seed is {seed!r}; it must be a whole number.")
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}; it must be at least 1.")
    if on_error not in ("raise", "substitute"):
        raise ValueError(f"on_error is {on_error!r}; it must be 'raise' or 'substitute'.")


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
