"""A set in a folder of this machine.

    OUT/image-000000.tar, .tar.index.npy    a finished shard, there as soon as it is whole
    OUT/video-000000.tar.frames.npy         as well, of a shard of videos
    OUT/manifest.json, manifest.names.jsonl  written last: with the manifest the set is finished
    OUT/.make_shards/plan.json              what the run in progress was planned from; saved first
    OUT/.make_shards/finished.jsonl         one line per finished shard: its summary and its failures
    OUT/.make_shards/parts-PID/ATTEMPT/     shards being written, of one run

Only the process that holds the folder's lock writes outside of parts-PID, so child processes that end a
moment after their parent can do no harm. A shard is recorded, then its frame tables (of videos) are renamed into place,
then its index, then its tar: it counts as finished if all of them are there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import IO, BinaryIO

from ..errors import ShardError, ShardingError
from ..storage.durable_files import fsync_folder
from ..storage.frame_table import frames_path
from ..storage.index import Index, index_digest, index_path, load_index
from ..storage.locked_folder import hold_folder
from ..storage.manifest import MANIFEST_NAME, Manifest
from ..storage.plain_files import MOST_TEXT_BYTES, create_plain, map_plain, open_plain, read_plain, refuse_link
from .journal import journal_line
from .set_place import FINISHED_NAME, PLAN_NAME, WORK_NAME, Entry
from .shard_content import ShardSummary
from .shard_job import ShardResult
from .shard_target import FolderTarget, ShardTarget

__all__ = ["LOCK_NAME", "FolderPlace"]

LOCK_NAME = ".make_shards.lock"


class FolderPlace:
    """See `SetPlace`; the folder is made by `hold`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._folder = out / WORK_NAME
        self._plan, self._journal = self._folder / PLAN_NAME, self._folder / f"{FINISHED_NAME}.jsonl"
        self._whole_bytes: int | None = None  # of a journal whose last line was cut off
        self._scratch = self._folder / f"parts-{os.getpid()}"

    def path_of(self, name: str) -> str:
        """See `SetPlace.path_of`."""
        return str(self.out / name)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Make the folder, lock it, and refuse links through which files outside of it would be written or removed."""
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ShardingError(
                f"{self.out}: cannot be made ({error.strerror}). Name another folder with --out."
            ) from error
        with hold_folder(self.out, LOCK_NAME, error=ShardingError, doing="packing into it"):
            for path in (self._folder, self._plan, self._journal):
                refuse_link(path)
            if self._folder.exists() and not self._folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, f"{self._folder.name} is not a folder; remove it")
            yield

    def has_unfinished(self) -> bool:
        """See `SetPlace.has_unfinished`."""
        return self._folder.exists() or (self.out / LOCK_NAME).exists()

    def has_work(self) -> bool:
        """See `SetPlace.has_work`."""
        return self._folder.exists()

    def entries(self) -> dict[str, Entry]:
        """See `SetPlace.entries`; a link to a file counts as the file."""
        found = dict[str, Entry]()
        if not self.out.exists():
            return found
        with os.scandir(self.out) as inside:
            for entry in inside:
                with contextlib.suppress(OSError):
                    if entry.is_file() or entry.is_symlink():
                        found[entry.name] = Entry(entry.stat().st_size)
        return found

    def manifest(self) -> Manifest | None:
        """See `SetPlace.manifest`."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return Manifest.load(self.out)
        return None

    def read(self, name: str) -> bytes | None:
        """See `SetPlace.read`."""
        with contextlib.suppress(FileNotFoundError):
            return read_plain(self.out / name, most=MOST_TEXT_BYTES)
        return None

    def read_index(self, tar: str, digest: str) -> Index:
        """See `SetPlace.read_index`."""
        return load_index(index_path(self.out / tar), digest=digest)

    def open_lines(self, name: str) -> AbstractContextManager[IO[str]]:
        """See `SetPlace.open_lines`."""
        return open(open_plain(self.out / name), encoding="utf-8")

    def write(self, name: str, lines: Iterable[str]) -> None:
        """See `SetPlace.write`."""
        self._folder.mkdir(exist_ok=True)
        _write(self._folder / name, lines)
        (self._folder / name).replace(self.out / name)

    def write_manifest(self, manifest: Manifest) -> None:
        """See `SetPlace.write_manifest`; the lock keeps others from changing the folder."""
        fsync_folder(self.out)  # the names are on the disk before the manifest that counts them
        self.write(MANIFEST_NAME, [manifest.to_json().rstrip("\n")])
        fsync_folder(self.out)

    def remove(self, names: Iterable[str]) -> None:
        """See `SetPlace.remove`."""
        for name in names:
            (self.out / name).unlink(missing_ok=True)

    def saved_plan(self) -> bytes | None:
        """See `SetPlace.saved_plan`."""
        with contextlib.suppress(FileNotFoundError):
            return read_plain(self._plan, most=MOST_TEXT_BYTES)
        return None

    def begin(self, plan: str) -> None:
        """See `SetPlace.begin`."""
        self._folder.mkdir(exist_ok=True)
        self._journal.unlink(missing_ok=True)
        self._whole_bytes = None
        _write(self._plan, [plan])

    def journal(self) -> list[bytes]:
        """See `SetPlace.journal`. A last line that was cut off is left out, and removed before more follows."""
        try:
            content = read_plain(self._journal, most=MOST_TEXT_BYTES)
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._whole_bytes = len(whole) if len(whole) < len(content) else None
        return whole.splitlines()

    def _open_journal(self) -> BinaryIO:
        """To be added to; a link is not followed. Raises `OSError`."""
        return open(
            os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666),
            "ab",
        )

    def confirmed(self, summary: ShardSummary, line: bytes, there: dict[str, Entry]) -> ShardSummary | None:
        """See `SetPlace.confirmed`: by the digests of the index and the frame tables."""
        tar = self.out / summary.name
        digest = index_digest(map_plain(index_path(tar)))
        if summary.index_hash not in ("", digest):
            return None
        with contextlib.suppress(ShardError, OSError):
            if summary.frames_hash == _frames_digest(tar):
                return replace(summary, index_hash=digest)
        return None

    @contextlib.contextmanager
    def scratch(self) -> Iterator[ShardTarget]:
        """See `SetPlace.scratch`: a folder of this run's own on the same disk."""
        for left in self._folder.glob("parts-*"):
            _remove_tree(left)
        self._scratch.mkdir()
        try:
            yield FolderTarget(self._scratch, self.out)
        finally:
            _remove_tree(self._scratch)

    def publish(self, result: ShardResult) -> None:
        """See `SetPlace.publish`."""
        with self._open_journal() as journal:
            if self._whole_bytes is not None:
                journal.truncate(self._whole_bytes)
                self._whole_bytes = None
            journal.write(journal_line(result))
            journal.flush()
            os.fsync(journal.fileno())
        if result.summary.examples:
            made, tar = self._scratch / result.attempt / result.summary.name, self.out / result.summary.name
            if result.summary.frames_hash:
                frames_path(made).replace(frames_path(tar))
            index_path(made).replace(index_path(tar))
            made.replace(tar)
            fsync_folder(self.out)
            made.parent.rmdir()

    def records_folder(self) -> Path:
        """See `SetPlace.records_folder`."""
        return self._folder

    def clear(self) -> None:
        """See `SetPlace.clear`."""
        _remove_tree(self._folder)


def _frames_digest(tar: Path) -> str:
    """Of the frame tables of a shard; empty where its index names none. Raises `ShardError` or `OSError`."""
    has_tables = load_index(index_path(tar))["table_offset"].max(initial=-1) >= 0
    return index_digest(map_plain(frames_path(tar))) if has_tables else ""


def _write(path: Path, lines: Iterable[str]) -> None:
    """Text lines to a file that appears whole. A name that is not UTF-8 becomes a JSON escape, which reads back."""
    beside = path.with_name(f".{path.name}.part")
    with create_plain(beside) as file:
        for line in lines:
            file.write((line + "\n").encode("utf-8", "backslashreplace"))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _remove_tree(folder: Path) -> None:
    """Remove a folder into which the orphan of a killed run may be writing for a moment yet; or what stands there."""
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.02)
    shutil.rmtree(folder)
