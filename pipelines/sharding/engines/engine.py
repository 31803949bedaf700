"""The interface of engines: they take tasks, report the current files, and give results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeAlias

from ..settings import PackSettings
from ..shard_job import ShardResult, ShardTask

__all__ = ["Engine", "OnFile"]

OnFile: TypeAlias = Callable[[int, int], None]
"""on_file(number of the shard, number of the file in it): the file is being packed."""


class Engine(Protocol):
    """Packs shards. Engines may give results in any order; the bytes of the shards are always the same."""

    def begin(self, num_tasks: int) -> None:
        """Get ready for so many tasks, which come later."""

    def prepare(self, settings: PackSettings) -> None:
        """Get ready for tasks with these settings, as far as anything has begun."""

    def run(self, tasks: Iterable[ShardTask], on_file: OnFile) -> Iterator[ShardResult]:
        """The result of each task, as it is finished. Raises `PackingStoppedError`.

        A task is taken from `tasks` when it can be begun. If several files are packed in a moment, only the
        last of them may be reported.
        """

    def end(self) -> None:
        """Release what `begin` has made, if no task followed."""
