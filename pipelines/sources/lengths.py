"""How long recordings are: from the index where it says so, by one look at each where it does not, kept in the cache.

Facts of a shard are kept under what identifies its bytes on this machine, so that a file that changes is looked at
again. The cache is only ever a shortcut: damaged or absent, it is made anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..order.clip_arithmetic import FACTS_DTYPE, Facts
from ..storage.index import Index
from ..storage.npy import read_npy_header
from ..storage.tar_index import cache_folder, store_in_cache
from .located import StoredExample

__all__ = ["FactsArray", "Probe", "cached_array", "facts_of_index", "is_known", "measure_all"]

FactsArray = NDArray[np.void]


class Probe(Protocol):
    """How the facts of one kind of media are found; `kind` names it, and its version, in the cache."""

    kind: str

    def measure(self, stored: StoredExample) -> Facts:
        """Look at one example; frames are UNREADABLE where it cannot be decoded."""

    def close(self) -> None:
        """Let go of what it keeps open."""


def facts_of_index(index: Index) -> FactsArray:
    """What an index says: (examples,) of FACTS_DTYPE."""
    facts = np.empty(len(index), FACTS_DTYPE)
    for name in FACTS_DTYPE.names or ():
        facts[name] = index[name]
    return facts


def is_known(facts: FactsArray) -> NDArray[np.bool_]:
    """Which of them an index had: packed examples have a rate, those of foreign tars none."""
    known: NDArray[np.bool_] = facts["rate_numerator"] > 0
    return known


def measure_all(stored: Iterable[StoredExample], probe: Probe, num: int) -> FactsArray:
    """Look at every one of `num` examples."""
    facts = np.empty(num, FACTS_DTYPE)
    for row, example in enumerate(stored):
        facts[row] = probe.measure(example)
    return facts


def cached_array(name: str | None, make: Callable[[], NDArray[Any]], like: np.dtype[Any], num: int) -> NDArray[Any]:
    """A (num,) array of dtype `like` from the cache folder, memory-mapped, or made and put there.

    `name` identifies what it follows from; with None nothing is kept.
    """
    if name is None:
        return make()
    path = cache_folder() / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.npy"
    try:
        with open(path, "rb") as file:
            shape, _, dtype = read_npy_header(file)
            if dtype == like and shape == (num,) and num:
                return np.memmap(file, dtype, "r", file.tell(), shape)
    except (OSError, ValueError):  # absent, or damaged
        pass
    made = make()

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.lib.format.write_array(file, made, version=(1, 0), allow_pickle=False)

    store_in_cache(path, write)
    return made
