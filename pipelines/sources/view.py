"""Some examples of another source: what parts of a set, and selections from it, have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ExampleError
from .located import LocatedExample
from .source import Example, ReadOrder, Source

__all__ = ["SourceView"]


class SourceView(Source):
    """Examples of `source`, at indices of its own. Whatever a view does not define comes from `source`.

    Examples keep the `index` that they have in the whole source.
    """

    def __init__(self, source: Source, name: str) -> None:
        self.source, self.name = source, name
        self.modality, self.cuts_recordings = source.modality, source.cuts_recordings
        self.curve_rates = source.curve_rates

    @abstractmethod
    def parent_indices(self, indices: Sequence[int]) -> list[int]:
        """The indices of these examples in `source`."""

    def read(self, indices: Sequence[int]) -> list[Example]:
        """The examples at these indices of the view."""
        return self.source.read(self.parent_indices(indices))

    def explain(self, error: ExampleError) -> ExampleError:
        """As `source` does."""
        return self.source.explain(error)

    def keys(self) -> list[str]:
        """The key of every example of the view, in its order."""
        every = self.source.keys()
        return [every[index] for index in self.parent_indices(range(len(self)))]

    def locate(self, index: int) -> LocatedExample:
        """Where an example lies."""
        return self.source.locate(self.parent_indices([index])[0])

    def expect(self, indices: NDArray[np.int64] | None, *, order: ReadOrder) -> None:
        """Tell `source` which of its examples are read next."""
        if type(self._origin()).expect is Source.expect:
            return
        chosen = None if indices is None else np.array(self.parent_indices(indices.tolist()), np.int64)
        self.source.expect(chosen, order=order)

    @property
    def examples_ahead(self) -> int:  # type: ignore[override]
        """As many as `source` wants."""
        return self.source.examples_ahead

    @property
    def fetches_shards(self) -> bool:
        """As in `source`."""
        return self.source.fetches_shards

    def begin_order(self, order: ReadOrder, share: float) -> None:
        """Tell `source`, with the share of it that this view reads."""
        part = len(self) / max(1, len(self.source))
        self.source.begin_order(order, min(1.0, share * part if order != "random" else share))

    @property
    def fetch_counts(self) -> dict[str, float]:
        """As in `source`."""
        return self.source.fetch_counts

    def _origin(self) -> Source:
        """The source that all views lead to."""
        return self.source._origin() if isinstance(self.source, SourceView) else self.source

    @property
    def clip_spec(self) -> dict[str, Any] | None:
        """As in `source`."""
        return self.source.clip_spec

    def fingerprint(self, shard: int) -> str | None:
        """As in `source`."""
        return self.source.fingerprint(shard)

    def close(self) -> None:
        """Close `source`."""
        self.source.close()
