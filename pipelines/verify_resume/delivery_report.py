"""What was due and what was delivered, example by example."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Entry", "Ledger", "entries"]

Entry = tuple[str, str]
"""A delivered example: its key, and a digest of its array."""

KEY_NAMES = ("keys", "__key__", "key")
DATA_NAMES = ("data", "image", "images", "jpg")


@dataclass(frozen=True)
class Ledger:
    """What became of the examples that were due: never delivered, delivered too often, or in another order."""

    due: int
    lost: int
    repeated: int
    reordered: int

    @classmethod
    def of(cls, due: Sequence[Entry], delivered: Sequence[Entry], *, ordered: bool = True) -> Ledger:
        """Compare what was delivered with what was due; `ordered=False` asks for the same examples only."""
        expected, found = Counter(due), Counter(delivered)
        wrong = sum(a != b for a, b in zip(due, delivered, strict=False)) if ordered else 0
        return cls(len(due), (expected - found).total(), (found - expected).total(), wrong)

    @property
    def is_exact(self) -> bool:
        """Nothing lost, repeated or reordered."""
        return not (self.lost or self.repeated or self.reordered)

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(
            self.due + other.due,
            self.lost + other.lost,
            self.repeated + other.repeated,
            self.reordered + other.reordered,
        )


def entries(batch: Any) -> list[Entry]:
    """The examples of a batch, padding left out.

    The batch is a `Batch`, a mapping or an object with keys and data under one of the usual names, a pair of them,
    or an array or tensor alone, whose examples are then known by their digests. Raises `TypeError` for others.
    """
    keys, data = _part(batch, KEY_NAMES), _part(batch, DATA_NAMES)
    if keys is None and data is None and isinstance(batch, tuple | list) and len(batch) == 2:
        keys, data = batch
    if keys is None and data is None:
        data = batch
    arrays = np.asarray(data) if data is not None else None
    if arrays is not None and not arrays.ndim:
        arrays = np.empty(0)  # no examples in it: an object that NumPy does not know
    digests = [_digest(array) for array in arrays] if arrays is not None else [""] * len(keys)
    names = [str(key) for key in keys] if keys is not None else digests
    if not digests or len(names) != len(digests):
        raise TypeError(f"a batch of type {type(batch).__name__} has neither keys nor data of its examples.")
    mask = _part(batch, ("mask",))
    real = [True] * len(names) if mask is None else np.asarray(mask).tolist()
    return [entry for entry, keep in zip(zip(names, digests, strict=True), real, strict=True) if keep]


def _part(batch: Any, names: Sequence[str]) -> Any:
    for name in names:
        found = batch.get(name) if isinstance(batch, Mapping) else getattr(batch, name, None)
        if found is not None and not callable(found) and not (name == "data" and isinstance(batch, np.ndarray)):
            return found
    return None


def _digest(array: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
