"""The keys of very many files, without a set of all keys: a key that is the plain key of its path takes no memory.

A key can only be taken already where two paths have the same plain key, or where one ends like a copy, `~2`. A
`KeyMaker` gives these few paths their keys in the order of the files; the other paths cannot change them.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from .keys import KeyMaker, plain_key
from .row_sequence import BATCH, RowSequence, batches

__all__ = ["KeyColumn"]

_COPY = re.compile(r"~[0-9]+\Z")


class KeyColumn(RowSequence[str]):
    """The key of each of many paths: the plain one, but for those in `odd`, by their places."""

    def __init__(self, paths: Sequence[str], odd: Mapping[int, str]) -> None:
        self._paths, self._odd = paths, odd

    @classmethod
    def given(cls, paths: Sequence[str], taken: Iterable[str] = ()) -> KeyColumn:
        """Keys as a `KeyMaker` gives them one after the other, where `taken` are given already."""
        return cls(paths, _odd_keys(paths, taken))

    def __len__(self) -> int:
        return len(self._paths)

    def _objects(self, rows: slice) -> list[str]:
        return self.of(range(*rows.indices(len(self))), self._paths[rows])

    def of(self, places: Iterable[int], paths: Iterable[str]) -> list[str]:
        """The keys at some places, whose paths are known already."""
        return [self._odd.get(place) or plain_key(path) for place, path in zip(places, paths, strict=True)]

    def moved(self, paths: Sequence[str], order: NDArray[np.int64]) -> KeyColumn:
        """The same keys in another order: at place i the one that stands at `order[i]`, of path `paths[i]`."""
        places = np.argsort(order)
        return KeyColumn(paths, {int(places[place]): key for place, key in self._odd.items()})


def _odd_keys(paths: Sequence[str], taken: Iterable[str]) -> dict[int, str]:
    """The keys that are not the plain ones of their paths, by their places."""
    hashes, copies = array("q"), array("q")
    for start, stop in batches(len(paths)):
        keys = [plain_key(path) for path in paths[start:stop]]
        hashes.extend(map(hash, keys))
        copies.extend(start + place for place, key in enumerate(keys) if _COPY.search(key))
    own = np.frombuffer(hashes, np.int64)
    met, others = _relevant(taken, own)
    is_asked = np.isin(own, np.concatenate([_repeated(own), met]))
    is_asked[np.frombuffer(copies, np.int64)] = True
    maker, odd = KeyMaker(others), dict[int, str]()
    for place in np.flatnonzero(is_asked).tolist():
        path = paths[place]
        if (key := maker.key(path)) != plain_key(path):
            odd[place] = key
    return odd


def _repeated(hashes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The hashes that occur more than once."""
    ordered = np.sort(hashes)
    return np.asarray(ordered[1:][ordered[1:] == ordered[:-1]])


def _relevant(taken: Iterable[str], own: NDArray[np.int64]) -> tuple[NDArray[np.int64], set[str]]:
    """Of the keys that are taken, the hashes that are among `own`, and those that may be in the way of a new one."""
    ordered, met, others = np.sort(own), array("q"), set[str]()
    keys = iter(taken)
    while len(ordered) and (some := list(islice(keys, BATCH))):
        hashes = np.array([hash(key) for key in some], np.int64)
        places = np.minimum(np.searchsorted(ordered, hashes), len(ordered) - 1)
        is_met = ordered[places] == hashes
        met.extend(hashes[is_met].tolist())
        others.update(key for key, one in zip(some, is_met.tolist(), strict=True) if one or _COPY.search(key))
    return np.frombuffer(met, np.int64), others
