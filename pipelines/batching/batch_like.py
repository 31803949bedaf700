"""The protocol between iterators and whatever trains on their batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

__all__ = ["BatchLike"]


@runtime_checkable
class BatchLike(Protocol):
    """What a batch tells; `docs/batches.md` says what that is for each modality.

    data         (batch, channel, *dims): an array or a tensor; of arrays in their own layout (batch, ...)
    keys         the key of each example, `KEY@START` of a clip
    fields       the examples' other members, by name
    mask         (batch,) bool, False where an example only fills up the last batch; None where none does
    lengths      (batch,) whole numbers: valid steps of each example; None where all are whole
    substituted  (batch,) bool, True where another example stands in; None where none may
    transform    (batch, 2, 3): source pixels (x, y, 1) → output pixels; None where there are no pixels
    state        the iterator's state after this batch, as JSON
    """

    @property
    def data(self) -> Any: ...

    @property
    def keys(self) -> Sequence[str]: ...

    @property
    def fields(self) -> Mapping[str, Any]: ...

    @property
    def mask(self) -> Any: ...

    @property
    def lengths(self) -> Any: ...

    @property
    def substituted(self) -> Any: ...

    @property
    def transform(self) -> Any: ...

    @property
    def state(self) -> Mapping[str, Any]: ...

    def __len__(self) -> int: ...
