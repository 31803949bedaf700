"""Packing in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from ...child_process import end_idle_children
from ..settings import PackSettings
from ..shard_job import ShardResult, ShardTask, pack_shard
from .engine import OnFile

__all__ = ["SerialEngine"]


class SerialEngine:
    """One shard after the other in this process. A native crash in a reader of media ends it."""

    def begin(self, num_tasks: int) -> None:
        """Nothing to prepare."""

    def prepare(self, settings: PackSettings) -> None:
        """Nothing to prepare."""

    def end(self) -> None:
        """Nothing to release."""

    def run(self, tasks: Iterable[ShardTask], on_file: OnFile) -> Iterator[ShardResult]:
        """The result of each task, in order."""
        try:
            for task in tasks:
                yield pack_shard(task, partial(on_file, task.shard.number))
        finally:
            end_idle_children()
