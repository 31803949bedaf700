"""Where a worker writes the shard it packs: a value that can be sent to it, whatever machine it is on.

Every attempt at a shard writes under a different name, and only the process that holds the set moves the shard to its
final name. So an attempt that was given up, and goes on later, changes nothing.
"""

from __future__ import annotations

import contextlib
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .attached_records import open_store
from .shard_content import EncodedExample, ShardSummary
from .shard_file import ShardFile

if TYPE_CHECKING:
    from .annotations.store import AnnotationStore

__all__ = ["FolderTarget", "OpenShard", "ShardTarget", "new_attempt"]


class OpenShard(Protocol):
    """One shard while it is written. `ShardFile` is one."""

    @property
    def examples(self) -> int:
        """Examples added so far."""

    def add(self, example: EncodedExample) -> None:
        """Append one example."""

    def all_or_none(self) -> AbstractContextManager[None]:
        """What is added inside stays if nothing is raised; otherwise the shard is again as it was before."""

    def finish(self) -> ShardSummary:
        """Put the shard, whole and with its index, where its target says."""

    def abort(self) -> None:
        """Remove what was written."""


class ShardTarget(Protocol):
    """Where shards are written. It can be pickled."""

    def written(self, name: str) -> str:
        """What is written while a shard is packed, for sentences on a disk that fails."""

    def open_records(self, path: Path) -> AnnotationStore:
        """The store of annotations and tables. `path` is where the process that holds the set has it."""

    def begin(self, name: str, attempt: str) -> OpenShard:
        """Begin a shard. Raises `OSError`; so do the methods of what it returns."""


@dataclass(frozen=True, slots=True)
class FolderTarget:
    """A folder of this machine, or of a disk that all workers share: FOLDER/ATTEMPT/NAME. `out` is the set."""

    folder: Path
    out: Path

    def written(self, name: str) -> str:
        """See `ShardTarget.written`."""
        return str(self.out / name)

    def open_records(self, path: Path) -> AnnotationStore:
        """See `ShardTarget.open_records`."""
        return open_store(path)

    def begin(self, name: str, attempt: str) -> OpenShard:
        """See `ShardTarget.begin`."""
        own = self.folder / attempt
        own.mkdir()
        return _ShardOfAttempt(own / name)


class _ShardOfAttempt(ShardFile):
    def abort(self) -> None:
        """Remove what was written, and the folder of the attempt."""
        super().abort()
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()


def new_attempt() -> str:
    """The name of an attempt, which no other one has."""
    return os.urandom(8).hex()
