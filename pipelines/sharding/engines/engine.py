"""What every engine does: tasks go in, results come out, and the number of each file is told on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeAlias

from ..shard_job import ShardResult, ShardTask

__all__ = ["Engine", "OnFile"]

OnFile: TypeAlias = Callable[[int, int], None]
"""on_file(number of the shard, number of the file in it), called before the file is opened."""


class Engine(Protocol):
    """Packs shards; in which order they come back is the engine's affair, what is in them is not."""

    def begin(self, num_tasks: int) -> None:
        """Get ready for so many tasks, which come later."""

    def run(self, tasks: Iterable[ShardTask], on_file: OnFile) -> Iterator[ShardResult]:
        """The result of each task, as it is finished. Raises `PackingStoppedError`.

        A task is taken from `tasks` when it can be begun.
        """

    def end(self) -> None:
        """Let go of what `begin` has made, where no task came."""
