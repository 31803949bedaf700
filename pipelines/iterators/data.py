"""The iterator over one source: shuffled batches, resumable at every one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ..batching.batch_job import ExampleSpec, Slots
from ..batching.iteration import BatchIterator, PlanSlots
from ..batching.options import Reading, ReadOptions, check_settings
from ..batching.ordered_source import DataPrefix, OrderedSource
from ..batching.state import MAX_COUNT, check_state, state_dict
from ..batching.stats import Counters
from ..decode.decoder import Decoder, FunctionDecoder
from ..errors import SourceError
from ..modality import find_modality
from ..sources.opening import SourceLike, open_source
from ..sources.selection import Selection
from ..sources.source import Source

__all__ = ["DataIterator", "chosen", "opened_as"]


class DataIterator(BatchIterator):
    """Batches of a source, one epoch for each `for` loop; its state is a position, under 1 KB of JSON.

    source      what `open_source` takes: a folder, a tar, a pattern, a list, or a `Source`
    decode      a `Decoder`, or a function `(example, rng) -> array`

    batch_size=64       examples of this rank in a batch
    shuffle=False       as stored; True: uniformly over the whole set; "files": whole files in random order
    shuffle_shards      with shuffle=True: uniformly within windows of this many shards, for storage where random access
                        is slow
    seed=0              the order and all randomness in decoding follow from it
    groups=1            the epoch is this many interleaved streams over disjoint stretches of the set
    rank, world_size, tail   the share of this process, and the end of an epoch: see `RankSplit`
    threads             that decode; by default the cores this process may use, 16 at most
    prefetch_bytes      bound on the decoded batches that wait, in bytes; by default 256 MiB
    fields=()           members of the examples to deliver beside the data, by suffix: see `fields.gather_field`
    transform           `(array, rng, example) -> array`, for each example
    select, limit       only these indices of the source; only this many examples
    on_error="raise"    or "substitute": an example that cannot be decoded is replaced by another, drawn by its
                        position, marked in the batch
    max_substitutions=1000   how many on this rank, over the run's whole life, before the next one raises
    quarantine          file to which every example that was replaced is added, as a line of JSON

    Iterating continues from the state: `break` leaves it after the last batch that was handed over. Nothing live
    (thread, open file) exists before the first batch or after `close()`; an iterator can be pickled and copied.
    """

    def __init__(
        self, source: SourceLike, decode: Decoder | Callable[..., Any], **reading: Unpack[Reading]
    ) -> None:
        check_settings(type(self), reading)
        options = ReadOptions(**reading)
        opened = chosen(open_source(source, modality=self.modality), options.select, options.limit)
        self.stream = OrderedSource(opened, options.shuffle, options.shuffle_shards, options.seed, options.groups)
        decoder = decode if isinstance(decode, Decoder) else FunctionDecoder(decode)
        counters = Counters()
        spec = ExampleSpec.of(opened, decoder, options, counters)
        self._prefix = self.stream.whole()
        super().__init__(opened.name, (spec,), options, examples=self._prefix.examples, counters=counters)

    @property
    def source(self) -> Source:
        """Where the examples come from."""
        return self.stream.source

    @property
    def recipe(self) -> ExampleSpec:
        """How examples become arrays."""
        return self._specs[0]

    @property
    def data_hash(self) -> str:
        """Identifies the data of the epoch in progress: 32 hexadecimal digits."""
        return self._prefix.data_hash

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch that was handed over: JSON, always the same keys."""
        return state_dict(self.stream.identity(self._prefix), self._epoch, self._position, self._substitutions)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state. Threads, batch size, tail, rank and world size may be others.

        Data that only grew by appending is accepted: the epoch in progress ends over what it began with. Raises
        `StateError` for a state of other data or settings, naming what differs.
        """
        check_state(state, self.stream.identity(self.stream.whole()), self.source.prefix_hash, self.name)
        self.close_epoch()
        self._set_prefix(DataPrefix(state["examples"], state["data_hash"]))
        self._epoch, self._position = state["epoch"], state["position"]
        self._substitutions = state["substitutions"]

    def reset(self, epoch: int = 0, position: int = 0) -> None:
        """Jump to a position of an epoch, over all of the source. Raises `ValueError` outside of it."""
        if not 0 <= epoch <= MAX_COUNT or not 0 <= position < len(self.source):
            raise ValueError(f"epoch {epoch}, position {position}: not within [0, {len(self.source)}) of an epoch.")
        self.close_epoch()
        self._set_prefix(self.stream.whole())
        self._epoch, self._position = epoch, position

    def _set_prefix(self, prefix: DataPrefix) -> None:
        self._prefix, self._examples = prefix, prefix.examples

    def _plan(self) -> PlanSlots:
        order, epoch, num = self.stream.order(self._epoch, self._prefix), self._epoch, self._examples
        source, read_order = self.source, self.stream.read_order
        self.stream.begin(self._split)
        source.expect(None, order=read_order)

        def plan(positions: NDArray[np.int64]) -> Slots:
            indices, same = order(positions), np.empty_like(positions)
            return Slots(indices, positions, np.full_like(same, epoch), np.full_like(same, num))

        return plan

    def _announce(self, slots: Slots) -> None:
        self.source.expect(slots.indices, order=self.stream.read_order)

    def _move(self, position: int) -> None:
        self._position = position
        if position >= self._examples:
            self._epoch, self._position = self._epoch + 1, 0
            self._set_prefix(self.stream.whole())

    def __repr__(self) -> str:
        split = self._split
        ranks = f", rank={split.rank} of {split.world_size}" if split.world_size > 1 else ""
        return (
            f"{type(self).__name__}({self.source!r}, {self.recipe.decoder!r}, batch_size={split.batch_size}, "
            f"shuffle={self.stream.shuffle!r}, seed={self.stream.seed}{ranks}, epoch={self._epoch}, "
            f"position={self._position})"
        )


def opened_as(source: SourceLike, modality: str) -> Source:
    """The source. Raises `SourceError` for one that is known to hold other media."""
    opened = open_source(source, modality=modality)
    if opened.modality not in (None, modality):
        wanted = find_modality(modality).plural
        raise SourceError(f"{opened.name}: it holds {opened.modality} data. Name {wanted} instead.")
    return opened


def chosen(source: Source, select: Sequence[int] | None, limit: int | None) -> Source:
    """Only these indices of a source; or only this many examples, the first ones."""
    if select is not None:
        source = Selection(source, select)
    if limit is not None:
        if limit < 1:
            raise ValueError(f"limit is {limit}; it must be at least 1.")
        source = Selection(source, range(min(limit, len(source))))
    return source
