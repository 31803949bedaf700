"""The iterator over one source: shuffled batches, resumable at every one of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from difflib import get_close_matches
from inspect import signature
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..batching.batch_job import Recipe, Slots, Transform
from ..batching.iteration import BatchIterator, PlanSlots
from ..batching.ordered_source import Span, Stream
from ..batching.state import check_state, state_dict
from ..batching.stats import Counters
from ..decode.decoder import Decoder, FunctionDecoder
from ..errors import SourceError
from ..order.epoch_order import Shuffle
from ..order.ranks import RankSplit, Tail
from ..sources.opening import SourceLike, open_source
from ..sources.source import Source
from ..sources.subset import Selection

__all__ = ["DataIterator", "check_settings", "chosen", "opened_as"]


class DataIterator(BatchIterator):
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
    max_substitutions   how many on this rank, over the run's whole life, before the next one raises
    quarantine      file to which every example that was replaced is added, as a line of JSON

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
        quarantine: str | os.PathLike[str] | None = None,
    ) -> None:
        split = RankSplit.resolve(batch_size, rank=rank, world_size=world_size, groups=groups, tail=tail)
        if on_error not in ("raise", "substitute"):
            raise ValueError(f"on_error is {on_error!r}; it must be 'raise' or 'substitute'.")
        opened = chosen(open_source(source, modality=self.modality), select, limit)
        self.stream = Stream(opened, shuffle, shuffle_shards, seed, groups)
        decoder = decode if isinstance(decode, Decoder) else FunctionDecoder(decode)
        counters = Counters()
        names = (fields,) if isinstance(fields, str) else tuple(fields)
        recipe = Recipe(opened, seed, decoder, names, transform, on_error == "substitute", counters)
        self._span = self.stream.whole()
        super().__init__(
            opened.name,
            (recipe,),
            split,
            examples=self._span.examples,
            counters=counters,
            threads=threads,
            prefetch_bytes=prefetch_bytes,
            max_substitutions=max_substitutions,
            quarantine=quarantine,
        )

    @property
    def source(self) -> Source:
        """Where the examples come from."""
        return self.stream.source

    @property
    def recipe(self) -> Recipe:
        """How examples become arrays."""
        return self._recipes[0]

    @property
    def data_hash(self) -> str:
        """Identifies the data of the epoch in progress: 32 hexadecimal digits."""
        return self._span.data_hash

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch that was handed over: JSON, always the same keys."""
        return state_dict(self.stream.identity(self._span), self._epoch, self._position, self._substitutions)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state. Threads, batch size, tail, rank and world size may be others.

        Data that only grew by appending is accepted: the epoch in progress ends over what it began with. Raises
        `StateError` for a state of other data or settings, naming what differs.
        """
        check_state(state, self.stream.identity(self.stream.whole()), self.source.prefix_hash, self.name)
        self.close_epoch()
        self._set_span(Span(state["examples"], state["data_hash"]))
        self._epoch, self._position = state["epoch"], state["position"]
        self._substitutions = state["substitutions"]

    def reset(self, epoch: int = 0, position: int = 0) -> None:
        """Jump to a position of an epoch, over all of the source. Raises `ValueError` outside of it."""
        if epoch < 0 or not 0 <= position < len(self.source):
            raise ValueError(f"epoch {epoch}, position {position}: not within [0, {len(self.source)}) of an epoch.")
        self.close_epoch()
        self._set_span(self.stream.whole())
        self._epoch, self._position = epoch, position

    def _set_span(self, span: Span) -> None:
        self._span, self._examples = span, span.examples

    def _plan(self) -> PlanSlots:
        order, epoch, num = self.stream.order(self._epoch, self._span), self._epoch, self._examples

        def plan(positions: NDArray[np.int64]) -> Slots:
            same = np.empty_like(positions)
            return Slots(order(positions), positions, np.full_like(same, epoch), np.full_like(same, num))

        return plan

    def _move(self, position: int) -> None:
        self._position = position
        if position >= self._examples:
            self._epoch, self._position = self._epoch + 1, 0
            self._set_span(self.stream.whole())

    def __repr__(self) -> str:
        split = self._split
        ranks = f", rank={split.rank} of {split.world_size}" if split.world_size > 1 else ""
        return (
            f"{type(self).__name__}({self.source!r}, {self.recipe.decoder!r}, batch_size={split.batch_size}, "
            f"shuffle={self.stream.shuffle!r}, seed={self.stream.seed}{ranks}, epoch={self._epoch}, "
            f"position={self._position})"
        )


def opened_as(source: SourceLike, modality: str, *, instead: str) -> Source:
    """The source. Raises `SourceError` for one that is known to hold other media; `instead` is what to name."""
    opened = open_source(source, modality=modality)
    if opened.modality not in (None, modality):
        raise SourceError(f"{opened.name}: it holds {opened.modality} data. Name {instead} instead.")
    return opened


def check_settings(kind: type, given: Iterable[str], known: Collection[str]) -> None:
    """Raise `TypeError` for a setting that iterators of this kind do not have."""
    names = [*list(signature(kind).parameters)[1:-1], *known]
    for name in given:
        if name not in names:
            near = get_close_matches(name, names, 1)
            hint = f"Did you mean {near[0]}?" if near else f"It has {', '.join(names)}."
            raise TypeError(f"{kind.__name__} has no setting {name!r}. {hint}")


def chosen(source: Source, select: Sequence[int] | None, limit: int | None) -> Source:
    """Only these indices of a source; only its first so many examples."""
    if select is not None:
        source = Selection(source, select)
    if limit is not None:
        if limit < 1:
            raise ValueError(f"limit is {limit}; it must be at least 1.")
        source = Selection(source, range(min(limit, len(source))))
    return source
