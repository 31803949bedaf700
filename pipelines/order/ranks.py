"""Which positions of a global batch a rank takes, and what happens at the end of an epoch.

global batch t:   |<-- batch_size · world_size positions -->|
one group:        | rank 0     | rank 1     | rank 2        |      contiguous blocks
several groups:   rank r takes the positions of its own groups, so that it reads its own stretch of the set
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .checked_numbers import whole_number

__all__ = ["RankSplit", "Tail"]

Tail = Literal["keep", "pad", "drop"]


@dataclass(frozen=True)
class RankSplit:
    """How batches are cut from an epoch's positions. Every rank takes the same number of steps.

    tail    what happens to the last positions when they do not fill a global batch. "keep": a smaller batch
            (one rank only). "pad": real examples are repeated up to the full size, marked False in the mask.
            "drop": they are left out.
    """

    batch_size: int
    rank: int = 0
    world_size: int = 1
    groups: int = 1
    tail: Tail = "keep"

    def __post_init__(self) -> None:
        for name in ("batch_size", "world_size", "groups"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        object.__setattr__(self, "rank", whole_number("rank", self.rank, least=None))
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank is {self.rank}; it must lie in [0, {self.world_size}).")
        if self.tail not in ("keep", "pad", "drop"):
            raise ValueError(f"tail is {self.tail!r}; it must be 'keep', 'pad' or 'drop'.")
        if self.tail == "keep" and self.world_size > 1:
            raise ValueError("tail='keep' would give ranks different numbers of examples; use 'pad' or 'drop'.")
        if self.global_batch % self.groups:
            raise ValueError(
                f"groups is {self.groups}; it must divide the global batch of {self.batch_size} × "
                f"{self.world_size} = {self.global_batch} examples."
            )

    @classmethod
    def resolve(
        cls, batch_size: int, *, rank: int | None, world_size: int | None, groups: int, tail: Tail | None
    ) -> RankSplit:
        """Fill in what was not given. Refuses to guess the rank where a launcher started several processes."""
        launched = os.environ.get("WORLD_SIZE", "1")
        if rank is None and (world_size or (int(launched) if launched.isdigit() else 1)) > 1:
            given = f"world_size={world_size}" if world_size else f"WORLD_SIZE={launched} in the environment"
            raise ValueError(f"{given}, but no rank was given: every process would read the same. Pass rank=….")
        world_size = world_size if world_size is not None else int(launched) if rank is not None else 1
        chosen: Tail = tail if tail is not None else "keep" if world_size == 1 else "pad"
        return cls(batch_size, rank or 0, world_size, groups, chosen)

    @property
    def global_batch(self) -> int:
        """Positions that one step of all ranks takes."""
        return self.batch_size * self.world_size

    def num_batches(self, position: int, num: int) -> int:
        """Steps left from `position` to the end of an epoch of `num` examples."""
        left = max(0, num - position)
        return left // self.global_batch if self.tail == "drop" else -(-left // self.global_batch)

    def positions(self, start: int, num: int) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """This rank's positions of the global batch that begins at `start`, and their mask.

        The positions are (batch,) int64; the mask is (batch,) bool, False where an example is a repetition, and
        None if missing.
        """
        size = min(self.global_batch, num - start)
        if self.world_size == 1:
            mine = np.arange(start, start + size)
        elif self.groups % self.world_size == 0:
            mine = self._of_own_groups(start, start + size)
        else:
            share, more = divmod(size, self.world_size)
            begin = start + self.rank * share + min(self.rank, more)
            mine = np.arange(begin, begin + share + (self.rank < more))
        if len(mine) == self.batch_size or self.tail != "pad":
            return mine, None
        repeated = np.resize(mine if len(mine) else np.array([start]), self.batch_size)
        return repeated, np.arange(self.batch_size) < len(mine)

    def _of_own_groups(self, start: int, stop: int) -> NDArray[np.int64]:
        """The positions p in [start, stop) with p % groups among this rank's groups; its time is that of its share."""
        own = self.groups // self.world_size
        turns = np.arange(start // self.groups, -(-stop // self.groups)) * self.groups
        mine = (turns[:, None] + np.arange(self.rank * own, (self.rank + 1) * own)).reshape(-1)
        within: NDArray[np.int64] = mine[(mine >= start) & (mine < stop)]
        return within
