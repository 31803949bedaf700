"""Proof that an iterator resumes exactly: for this library's tests, and for iterators of your own.

>>> from pipelines.testing import assert_resumes_exactly
>>> assert_resumes_exactly(lambda **changes: ImageIterator("shards/image", size=32, shuffle=True, **changes),
...                        variations=[{}, {"threads": 3}, {"world_size": 2, "tail": "pad"}])
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from .batching.batch import Batch
from .verify_resume.delivery_report import Entry, Ledger, entries

__all__ = ["Entry", "Ledger", "Resumable", "assert_resumes_exactly", "entries", "play_epoch"]


class Resumable(Protocol):
    """What an iterator needs: one epoch per loop, and a state that survives JSON."""

    def __iter__(self) -> Iterator[Batch]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def play_epoch(ranks: Sequence[Resumable]) -> Iterator[tuple[list[Entry], dict[str, Any]]]:
    """One epoch of all ranks in step: for each global batch, its examples and the state after it.

    Raises `AssertionError` where the ranks take different numbers of steps or disagree on the state.
    """
    live = [iter(rank) for rank in ranks]
    for batches in zip(*live, strict=True):
        states = [batch.state for batch in batches]
        assert all(state == states[0] for state in states), f"ranks disagree on the state: {states}"
        yield [entry for batch in batches for entry in entries(batch)], states[0]


def assert_resumes_exactly(
    make: Callable[..., Resumable],
    *,
    variations: Iterable[dict[str, Any]] = ({},),
    epochs: int = 2,
    every: int = 1,
    ordered: bool = True,
) -> int:
    """Stop at every batch, continue in a fresh iterator, and compare the rest of the run with an uninterrupted one.

    make         builds the iterator; it is called with the keyword arguments of a variation. A variation with
                 `world_size` is built once for each `rank`, and all ranks are played in step.
    variations   what may differ after the stop: threads, batch_size, world_size with tail …
    epochs       how many to play; every: at which batches to stop; ordered: whether ranks must also keep the order
    Returns the number of resumes tried. Raises `AssertionError` with a ledger where one is not exact.
    """
    reference = make()
    whole: list[list[Entry]] = []
    stops: list[tuple[int, int, dict[str, Any]]] = [(0, 0, reference.state_dict())]
    for epoch in range(epochs):
        whole.append([])
        for examples, state in play_epoch([reference]):
            whole[epoch] += examples
            assert state == reference.state_dict(), "the batch carries another state than its iterator has after it"
            stops.append((epoch, len(whole[epoch]), state))
    tried = 0
    for variation in variations:
        for epoch, position, state in islice(stops, 0, None, every):
            stored = json.dumps(state)
            limit = 1024 * max(1, len(state.get("sources", ())))  # a mixture's is so much for each source
            assert len(stored) < limit, f"a state of {len(stored)} bytes"
            _assert_goes_on(make, variation, json.loads(stored), (epoch, position), whole, ordered)
            tried += 1
    return tried


def _assert_goes_on(
    make: Callable[..., Resumable],
    variation: dict[str, Any],
    state: dict[str, Any],
    stop: tuple[int, int],
    whole: list[list[Entry]],
    ordered: bool,
) -> None:
    epoch, position = stop
    if position == len(whole[epoch]):
        epoch, position = epoch + 1, 0
    num_ranks = variation.get("world_size", 1)
    ranks = [make(**variation, **({"rank": rank} if num_ranks > 1 else {})) for rank in range(num_ranks)]
    for rank in ranks:
        rank.load_state_dict(state)
        assert rank.state_dict() == state, "a state that is loaded and asked for again has changed"
    for number in range(epoch, len(whole)):
        due = whole[number][position if number == epoch else 0 :]
        ledger = Ledger.of(due, [entry for part, _ in play_epoch(ranks) for entry in part], ordered=ordered)
        assert ledger.is_exact, f"resumed at example {position} of epoch {epoch} with {variation}: {ledger}"
