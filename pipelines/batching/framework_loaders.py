"""Loaders as frameworks expect them: of a fixed length, and for evaluation the same in every loop.

an iterator's own `len`    batches left, so that progress bars and schedules after a resume are right
a framework's              batches of a whole epoch, of which it counts by itself those before the resume
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from .batch import Batch

__all__ = ["EpochLoader", "RepeatedEpoch", "ResumableBatches"]


class ResumableBatches(Protocol):
    """What continues from a state: a `BatchIterator`, a `TorchLoader`, a `DevicePrefetcher`."""

    @property
    def num_batches(self) -> int:
        """Batches of a whole epoch."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch that was handed over."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""


class EpochLoader:
    """An iterator for a framework that counts an epoch's batches by itself, such as Lightning's `Trainer`.

    `len` is always that of a whole epoch, also in the middle of one. A loop continues from the state, and the state is
    that of the last batch handed over, as always. A framework that stops before the epoch's end (Lightning's
    `limit_train_batches`) finds the rest of it in its next one.

    convert   what the framework gets of each batch: `lambda batch: (batch.data, batch.fields["cls"])`, say; the
              batch itself by default
    """

    def __init__(self, batches: ResumableBatches, convert: Callable[[Batch], Any] | None = None) -> None:
        self.batches, self.convert = batches, convert

    def __len__(self) -> int:
        return self.batches.num_batches

    def __iter__(self) -> Iterator[Any]:
        return _converted(self.batches, self.convert)

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch that was handed over."""
        return self.batches.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state, as the iterator would."""
        self.batches.load_state_dict(state)

    def __repr__(self) -> str:
        return f"EpochLoader({self.batches!r})"


class RepeatedEpoch:
    """The same batches in every loop, for evaluation: from where the iterator stood when it was given here.

    A loop that stops early, such as a framework's trial of two batches, takes nothing from the next one. There is no
    state to save. `convert` is as for `EpochLoader`.
    """

    def __init__(self, batches: ResumableBatches, convert: Callable[[Batch], Any] | None = None) -> None:
        self.batches, self.convert = batches, convert
        self._begin, self._length = batches.state_dict(), len(batches)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        self.batches.load_state_dict(self._begin)
        return _converted(self.batches, self.convert)

    def __repr__(self) -> str:
        return f"RepeatedEpoch({self.batches!r})"


def _converted(batches: ResumableBatches, convert: Callable[[Batch], Any] | None) -> Iterator[Any]:
    return iter(batches) if convert is None else map(convert, iter(batches))
