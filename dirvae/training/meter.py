"""Means of loss terms, kept on the device between two logs, so that logging does not make a GPU wait at every step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dirvae.float64 import wide
from dirvae.training.ranks import ONE_RANK, Ranks

__all__ = ["Meter"]


class Meter:
    """Means over the finite steps since they were last taken."""

    def __init__(self, *, ranks: Ranks = ONE_RANK) -> None:
        self._ranks = ranks
        self._names: tuple[str, ...] = ()
        self._parts: frozenset[str] = frozenset()
        self._sums: Tensor | None = None

    def add(self, values: Mapping[str, Tensor], is_finite: Tensor, *, parts: frozenset[str] = frozenset()) -> None:
        """Count one step: scalars by name, the same names every time, and whether the step counts.

        `parts` are the names of those of which each rank has a part of the sum; the others are alike on all ranks.
        """
        self._names, self._parts = tuple(values), parts
        row = torch.stack([*(value.detach().float() for value in values.values()), is_finite.float()])
        row = wide(torch.where(is_finite, row, torch.zeros_like(row)))
        self._sums = row if self._sums is None else self._sums + row

    def take(self) -> dict[str, float | None]:
        """Return the means, None where no step counted, and start again; empty if nothing was added.

        With several ranks all must call it.
        """
        if self._sums is None:
            return {}
        *sums, count = self._summed(self._sums).tolist()
        self._sums = None
        return {name: value / count if count else None for name, value in zip(self._names, sums, strict=True)}

    def _summed(self, sums: Tensor) -> Tensor:
        if self._ranks.world_size == 1:
            return sums
        is_part = torch.tensor([name in self._parts for name in (*self._names, "")], device=sums.device)
        return torch.where(is_part, self._ranks.sum(sums), sums)
