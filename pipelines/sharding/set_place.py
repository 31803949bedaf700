"""What packing needs of the place a set is in: a folder of this machine, or a folder of a bucket.

    image-000000.tar, .tar.index.npy, .tar.frames.npy     `entries`, `read_index`, `remove`; put there by `publish`
    manifest.names.jsonl, classes.json, labels.json       `write`, `open_lines`, `read`: each whole or not at all
    manifest.json                                         `manifest`, `write_manifest`: last, it makes the set
    .make_shards/                                         what a run in progress keeps, until `clear`
        plan.json                                         `saved_plan`, `begin`: saved first
        finished…                                         `journal`, `publish`: one line per finished shard
        parts-RUN/ATTEMPT/                                `scratch`: shards that are being written

`PackingState` says in which order these are used, and is the same for every place.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from ..storage.frame_table import FRAME_DTYPE, frames_name
from ..storage.index import INDEX_DTYPE, Index, index_name
from ..storage.manifest import Manifest
from .shard_content import ShardSummary
from .shard_job import ShardResult
from .shard_target import ShardTarget

__all__ = ["FINISHED_NAME", "PLAN_NAME", "WORK_NAME", "Entry", "SetPlace", "is_present"]

WORK_NAME = ".make_shards"
PLAN_NAME = "plan.json"
FINISHED_NAME = "finished"


class Entry(NamedTuple):
    """A file of the set: its bytes, and the tag that a bucket gives to its content."""

    size: int
    tag: str = ""


class SetPlace(Protocol):
    """One place. Besides `manifest`, `entries` and `has_unfinished`, methods need `hold`.

    A folder raises `OSError`, a bucket `SourceError`.
    """

    @property
    def out(self) -> Path | str:
        """The folder, or the URL without secrets."""

    def path_of(self, name: str) -> str:
        """Where a file of the set lies, for sentences."""

    def hold(self) -> AbstractContextManager[None]:
        """Keep other runs out. Raises `ShardingError` if another run holds the place."""

    def has_unfinished(self) -> bool:
        """Whether a run was begun and has not been cleared away to the last file."""

    def has_work(self) -> bool:
        """Whether there are files of a run in progress."""

    def entries(self) -> dict[str, Entry]:
        """The files of the set by name, those in sub-folders left out."""

    def manifest(self) -> Manifest | None:
        """The manifest, None without. Raises `ShardError` for a damaged one."""

    def read(self, name: str) -> bytes | None:
        """A file of the set; None if missing."""

    def read_index(self, tar: str, digest: str) -> Index:
        """The index of a shard. Raises `FileNotFoundError`, and `ShardError` for one of another digest."""

    def open_lines(self, name: str) -> AbstractContextManager[IO[str]]:
        """The lines of a file of the set. Raises `OSError` if missing."""

    def write(self, name: str, lines: Iterable[str]) -> None:
        """Write a text; it is there whole, or not at all."""

    def write_manifest(self, manifest: Manifest) -> None:
        """Make the set. Raises `ShardingError` where another run has changed the place meanwhile."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove files of the set; missing ones are passed over."""

    def saved_plan(self) -> bytes | None:
        """The plan of the run in progress."""

    def begin(self, plan: str) -> None:
        """Forget the journal, and save the plan of a run."""

    def journal(self) -> list[bytes]:
        """A line for each finished shard, in no order."""

    def confirmed(self, summary: ShardSummary, line: bytes, there: dict[str, Entry]) -> ShardSummary | None:
        """The summary, with the digest of its index, if the files are still those of the line; else None."""

    def scratch(self) -> AbstractContextManager[ShardTarget]:
        """Where shards are written; what earlier runs left there is removed."""

    def publish(self, result: ShardResult) -> None:
        """Record a shard and bring it from the scratch place to where it belongs."""

    def records_folder(self) -> Path:
        """A folder of this machine that is kept until the run ends, or, better, until it is cleared."""

    def clear(self) -> None:
        """Remove all files of the run in progress."""


def is_present(summary: ShardSummary, there: dict[str, Entry]) -> bool:
    """Whether the files of a shard are there, of sizes that fit."""
    if not summary.examples:
        return True
    tar, index = there.get(summary.name), there.get(index_name(summary.name))
    if tar is None or index is None:
        return False
    if summary.frames_hash:
        frames = there.get(frames_name(summary.name))
        if frames is None or frames.size <= summary.examples * FRAME_DTYPE.itemsize:
            return False
    return tar.size == summary.bytes and index.size > summary.examples * INDEX_DTYPE.itemsize
