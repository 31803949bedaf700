"""What every engine does: it takes tasks, reports which files it has come to, and gives results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeAlias

from ..settings import PackSettings
from ..shard_job import ShardResult, ShardTask

__all__ = ["Engine", "OnFile"]

OnFile: TypeAlias = Callable[[int, int], None]
"""on_file(number of the shard, number of the file in it): it is about to be opened, or was a moment ago."""


class Engine(Protocol):
    """Packs shards. Engines may give results in any order; the bytes of the shards are always the same."""

    def begin(self, num_tasks: int, settings: PackSettings | None = None) -> None:
        """Get ready for so many tasks, of these settings if they are known, which come later."""

    def run(self, tasks: Iterable[ShardTask], on_file: OnFile) -> Iterator[ShardResult]:
        """The result of each task, as it is finished. Raises `PackingStoppedError`.

        A task is taken from `tasks` when it can be begun. Not every file is reported where several are packed in a
        moment, but the last that was begun where nothing goes on.
        """

    def end(self) -> None:
        """Release what `begin` has made, if no task followed."""
