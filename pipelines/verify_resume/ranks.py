"""Loaders played as they are when several processes share the work: ranks in step, and worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .checker import Loader, Make

__all__ = ["AllRanks", "StepOfRanks", "with_ranks_and_workers"]


@dataclass(frozen=True)
class StepOfRanks:
    """What all ranks delivered in one step, as one batch."""

    keys: list[str]
    data: list[Any]
    state: dict[str, Any]


class AllRanks:
    """Several ranks of one loader played in step, as one loader: what is verified is their union."""

    def __init__(self, make: Make, world_size: int, settings: dict[str, Any]) -> None:
        self._ranks = [make(rank=rank, world_size=world_size, **settings) for rank in range(world_size)]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Every rank continues from the same state."""
        for rank in self._ranks:
            rank.load_state_dict(state)

    def __iter__(self) -> Iterator[StepOfRanks]:
        for batches in zip(*self._ranks, strict=True):
            states = [batch.state for batch in batches]
            if any(state != states[0] for state in states):
                raise RuntimeError(f"ranks disagree on the state: {states}")
            real = [
                (key, array)
                for batch in batches
                for slot, (key, array) in enumerate(zip(batch.keys, batch.data, strict=True))
                if batch.mask is None or batch.mask[slot]
            ]
            yield StepOfRanks([key for key, _ in real], [array for _, array in real], states[0])


def with_ranks_and_workers(make: Make) -> Make:
    """A builder of iterators that also understands `world_size` (all ranks in step) and `num_workers`."""

    def build(*, world_size: int = 1, num_workers: int | None = None, **settings: Any) -> Loader:
        if world_size > 1:
            return AllRanks(make, world_size, {"tail": "pad", "threads": 1, **settings})
        if num_workers is not None:
            from ..torch_bridge import TorchLoader

            return TorchLoader(make(**{"threads": 1, **settings}), num_workers)
        return make(**settings)

    return build
