"""Several sources in one stream of batches, in exact proportions.

Every block of 1,000 positions holds a fixed whole number from each source, its quota, in an order permuted by key
(`order/turns.py`).

A source is played in its own order, epoch after epoch of its own, whatever the mixture's epoch is. The state is the
mixture's position and, for each source, where it stands; weights may change at any position.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..batching.batch_job import Slots
from ..batching.iteration import BatchIterator, PlanSlots
from ..batching.options import ReadOptions
from ..batching.ordered_source import DataPrefix, OrderedSource
from ..batching.state import (
    STATE_VERSION,
    check_counts,
    check_keys,
    check_state,
    differs,
    shown,
    state_dict,
)
from ..batching.stats import Counters
from ..errors import StateError
from ..modality import find_modality
from ..order.checked_numbers import whole_number
from ..order.epoch_order import ORDER_VERSION, EpochOrder
from ..order.randomness import Purpose, derive_key
from ..order.ranks import Tail
from ..order.turns import BLOCK, Turns, quotas_of
from .data import DataIterator

__all__ = ["MixedIterator", "mix"]

Indices = NDArray[np.int64]


def mix(
    iterators: Sequence[DataIterator],
    weights: Sequence[float] | None = None,
    *,
    seed: int = 0,
    batch_size: int = 64,
    epoch_examples: int | None = None,
    rank: int | None = None,
    world_size: int | None = None,
    tail: Tail | None = None,
    threads: int | None = None,
    prefetch_bytes: int = 256 << 20,
    max_substitutions: int = 1000,
    quarantine: str | os.PathLike[str] | None = None,
) -> MixedIterator:
    """Batches drawn from several iterators at once, in exact proportions.

    iterators       each brings its source, order, decoder and transform; all must give arrays of one shape. Their
                    own batch size, rank and threads are not used.
    weights         relative shares, by default the sizes of the sources; a change of weights is taken up on resume
    seed            of the order in which the sources take turns
    epoch_examples  positions in an epoch of the mixture; by default the sum of the sources
    Everything else is as in `DataIterator`. Raises `ValueError` for shares below one in a thousand.
    """
    options = ReadOptions(
        batch_size=batch_size,
        seed=seed,
        rank=rank,
        world_size=world_size,
        tail=tail,
        threads=threads,
        prefetch_bytes=prefetch_bytes,
        max_substitutions=max_substitutions,
        quarantine=quarantine,
    )
    return MixedIterator(iterators, weights, options, epoch_examples=epoch_examples)


class MixedIterator(BatchIterator):
    """What `mix` makes: see there. Its state is under 1 KB for each source."""

    def __init__(
        self,
        iterators: Sequence[DataIterator],
        weights: Sequence[float] | None,
        options: ReadOptions,
        *,
        epoch_examples: int | None = None,
    ) -> None:
        if not iterators:
            raise ValueError("mix() was given no iterators; it needs at least one.")
        if wrong := [iterator for iterator in iterators if not isinstance(iterator, DataIterator)]:
            raise TypeError(f"mix() was given {wrong[0]!r}; it takes iterators, made beforehand.")
        self.streams = tuple(iterator.stream for iterator in iterators)
        sizes = [len(stream.source) for stream in self.streams]
        self.quotas = quotas_of(sizes if weights is None else weights, len(iterators))
        if epoch_examples is not None:
            epoch_examples = whole_number("epoch_examples", epoch_examples)
        self._fixed_examples = epoch_examples
        self._seed, self._origin = options.seed, 0
        self._turns: Turns | None = None
        self._places = [Playing(stream) for stream in self.streams]
        self.modality = iterators[0].modality
        _check_outputs(iterators)
        counters = Counters()
        super().__init__(
            f"mixture of {', '.join(iterator.name for iterator in iterators)}",
            [dataclasses.replace(iterator.recipe, counters=counters) for iterator in iterators],
            options,
            examples=epoch_examples or sum(sizes),
            counters=counters,
        )

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch that was handed over: JSON, always the same keys."""
        return {
            "version": STATE_VERSION,
            "order_version": ORDER_VERSION,
            "epoch": self._epoch,
            "position": self._position,
            "substitutions": self._substitutions,
            "seed": self._seed,
            "examples": self._examples,
            "origin": self._origin,
            "quotas": list(self.quotas),
            "sources": [place.state_dict() for place in self._places],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state. The weights may be others: they hold from here on.

        Raises `StateError` for another number of sources, other data or settings, naming what differs.
        """
        expected = self.state_dict()
        check_keys(state, expected, self.name)
        check_counts(state, ("epoch", "position", "substitutions", "examples", "origin"), self.name)
        if differs(state["seed"], self._seed):
            raise StateError(
                f"{self.name}: the state was saved with seed={shown(state['seed'])} (now {self._seed})."
            )
        for key in ("quotas", "sources"):
            if not isinstance(state[key], list):
                raise StateError(f"{self.name}: the state's {key} is {shown(state[key])}; it must be a list.")
        if len(state["sources"]) != len(self.streams):
            raise StateError(
                f"{self.name}: the state was saved over {len(state['sources'])} sources, here are "
                f"{len(self.streams)}. Mix the same sources."
            )
        if not _are_quotas(state["quotas"], len(self.streams)):
            raise StateError(
                f"{self.name}: the state's quotas are {shown(state['quotas'])}; they must be whole numbers from 1 up, "
                f"one for each source, {BLOCK} together."
            )
        places = [Playing(stream) for stream in self.streams]
        for place, saved in zip(places, state["sources"], strict=True):
            place.load_state_dict(saved)
        if not state["origin"] <= state["position"] < state["examples"]:
            raise StateError(f"{self.name}: the state's position {state['position']:,} lies outside its epoch.")
        self.close_epoch()
        self._places = places
        self._epoch, self._position, self._examples = state["epoch"], state["position"], state["examples"]
        self._substitutions = state["substitutions"]
        self._origin = state["origin"] if tuple(state["quotas"]) == self.quotas else self._position

    def _turns_now(self) -> Turns:
        now = (self.quotas, derive_key(self._seed, Purpose.MIXTURE, self._epoch), self._origin)
        if self._turns is None or self._turns.settings != now:
            self._turns = Turns(*now)
        return self._turns

    def _plan(self) -> PlanSlots:
        turns, begin = self._turns_now(), self._position
        taken = turns.taken_before(begin)
        players = [place.player() for place in self._places]
        for stream in self.streams:
            stream.begin(self._split)
            if stream.source.examples_ahead:
                stream.source.expect(None, order=stream.read_order)

        def plan(positions: Indices) -> Slots:
            streams, counts = turns(positions)
            columns = np.empty((4, len(positions)), np.int64)
            for number, player in enumerate(players):
                here = streams == number
                if here.any():
                    columns[:, here] = player(counts[here] - taken[number])
            indices, places, epochs, examples = columns
            return Slots(indices, places, epochs, examples, streams)

        return plan

    def _announce(self, slots: Slots) -> None:
        assert slots.streams is not None
        for number, stream in enumerate(self.streams):
            if stream.source.examples_ahead:
                stream.source.expect(slots.indices[slots.streams == number], order=stream.read_order)

    def _move(self, position: int) -> None:
        turns = self._turns_now()
        steps = turns.taken_before(position) - turns.taken_before(self._position)
        self._places = [place.after(int(step)) for place, step in zip(self._places, steps, strict=True)]
        self._position = position
        if position >= self._examples:
            self._epoch, self._position, self._origin = self._epoch + 1, 0, 0
            self._examples = self._fixed_examples or sum(len(stream.source) for stream in self.streams)

    def __repr__(self) -> str:
        return (
            f"MixedIterator({len(self.streams)} sources, quotas={list(self.quotas)} of {BLOCK}, "
            f"batch_size={self.batch_size}, seed={self._seed}, epoch={self._epoch}, position={self._position})"
        )


def _are_quotas(quotas: list[Any], num: int) -> bool:
    """Whether these are what `quotas_of` gives for so many sources."""
    return len(quotas) == num and all(type(quota) is int and quota > 0 for quota in quotas) and sum(quotas) == BLOCK


class Playing:
    """Where one stream of a mixture stands: its epoch, the prefix that epoch runs over, and the position in it."""

    def __init__(
        self, stream: OrderedSource, epoch: int = 0, position: int = 0, prefix: DataPrefix | None = None
    ) -> None:
        self.stream, self.epoch, self.position = stream, epoch, position
        self.prefix = prefix or stream.whole()

    def state_dict(self) -> dict[str, Any]:
        """As an iterator over this stream alone would save it."""
        return state_dict(self.stream.identity(self.prefix), self.epoch, self.position, 0)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises `StateError` for a state of other data or settings."""
        source = self.stream.source
        check_state(state, self.stream.identity(self.stream.whole()), source.prefix_hash, source.name)
        self.epoch, self.position = state["epoch"], state["position"]
        self.prefix = DataPrefix(state["examples"], state["data_hash"])

    def after(self, steps: int) -> Playing:
        """Where the stream stands this many examples later."""
        epochs, positions, _ = self._place(np.array([steps]))
        epoch, position = int(epochs[0]), int(positions[0])
        return Playing(self.stream, epoch, position, self.prefix if epoch == self.epoch else None)

    def _place(self, steps: Indices) -> tuple[Indices, Indices, Indices]:
        """The (epoch, position, examples of that epoch) at this many examples from here."""
        left, whole = self.prefix.examples - self.position, len(self.stream.source)
        beyond = steps - left
        later = beyond >= 0
        epochs = np.where(later, self.epoch + 1 + beyond // whole, self.epoch)
        positions = np.where(later, beyond % whole, self.position + steps)
        return epochs, positions, np.where(later, whole, self.prefix.examples)

    def player(self) -> _Player:
        """What stands at this many examples from here."""
        return _Player(self)


class _Player:
    """Called with steps (n,), returns rows of indices, positions, epochs and examples: (4, n) int64."""

    def __init__(self, place: Playing) -> None:
        self._place = place
        self._orders: dict[int, EpochOrder] = {}

    def _order(self, epoch: int) -> EpochOrder:
        if epoch not in self._orders:
            place = self._place
            prefix = place.prefix if epoch == place.epoch else place.stream.whole()
            self._orders = {number: order for number, order in self._orders.items() if number >= epoch - 1}
            self._orders[epoch] = place.stream.order(epoch, prefix)
        return self._orders[epoch]

    def __call__(self, steps: Indices) -> Indices:
        epochs, positions, examples = self._place._place(steps)
        indices = np.empty_like(positions)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            indices[here] = self._order(int(epoch))(positions[here])
        return np.stack([indices, positions, epochs, examples])


def _check_outputs(iterators: Sequence[DataIterator]) -> None:
    """Raise `ValueError` where the iterators deliver what no batch can hold together."""
    if len({iterator.recipe.fields for iterator in iterators}) > 1:
        raise ValueError("the iterators deliver different fields; a mixture needs the same from each.")
    rates = {_output_rate(iterator): None for iterator in iterators}
    if len(rates) > 1:
        setting = find_modality(iterators[0].modality).rate_setting
        raise ValueError(f"the iterators have {setting}={' and '.join(map(str, rates))}; a mixture needs one.")
    shapes = set()
    for iterator in iterators:
        slots = iterator.recipe.decoder.allocate(1)
        if slots is not None and iterator.recipe.transform is None:
            shapes.add((slots.shape[1:], str(slots.dtype)))
    if len(shapes) > 1:
        raise ValueError(f"the iterators give arrays of {sorted(shapes)}; a mixture needs one shape and dtype.")


def _output_rate(iterator: DataIterator) -> int | Fraction | None:
    """The rate that an iterator gives all its examples, None where each keeps its own or has none."""
    return getattr(iterator.recipe.decoder, "output_rate", None)
