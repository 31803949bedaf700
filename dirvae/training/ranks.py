"""`Ranks`: which of the processes that train together this one is, and what they decide together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ONE_RANK", "Ranks"]


@dataclass(frozen=True)
class Ranks:
    """This process is `rank` of `world_size`. One process decides alone, without `torch.distributed`.

    With several, torch's default process group must exist. ValueError for a rank outside [0, world_size).
    """

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(
                f"rank is {self.rank} of {self.world_size}; it must be 0 or more and below world_size."
            )

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files of the run and shows its progress."""
        return self.rank == 0

    def index(self, step: int) -> int:
        """A number of this rank's own for each step, for noise: `step` itself where there is one rank."""
        return step * self.world_size + self.rank

    def any(self, flag: Tensor) -> Tensor:
        """Whether a scalar flag, on the device, is True on some rank: `flag` itself where there is one rank."""
        if self.world_size == 1:
            return flag
        reduced = flag.to(torch.int32)
        torch.distributed.all_reduce(reduced, op=torch.distributed.ReduceOp.MAX)
        return reduced > 0


ONE_RANK = Ranks()
"""A process that trains alone."""
