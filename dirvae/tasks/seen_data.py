"""How much of its data a run has trained on, from the state that its iterator saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["count_seen", "says_what_it_saw"]


def says_what_it_saw(state: Any) -> bool:
    """Whether a state is that of an iterator of `pipelines`, which identifies its data."""
    return isinstance(state, Mapping) and {"examples", "data_hash"} <= state.keys()


def count_seen(source: Any, state: Any) -> int | None:
    """How many examples of `source`, the first ones, an iterator went through by its `state`.

    Fewer than all, if more were appended since; None for other data, and for a state that does not say what it saw. A
    state of clips counts clips, but its hash is that of the examples that they are cut from: these are counted, by
    whole shards.
    """
    if not says_what_it_saw(state):
        return None
    data_hash = state["data_hash"]
    if state.get("clips") is None:
        num = int(state["examples"])
        return num if num <= len(source) and source.prefix_hash(num) == data_hash else None
    ends = np.unique(np.cumsum(source.shard_counts))[::-1].tolist()
    return next((num for num in ends if num > 0 and source.prefix_hash(num) == data_hash), None)
