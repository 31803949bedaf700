"""A set in a folder of a bucket; the layout is that of `SetPlace`.

    SET/.make_shards/lease.json                 who packs, see `Lease`
    SET/.make_shards/plan.json                  what the run in progress was planned from; saved first
    SET/.make_shards/finished/000012.json       one small object per finished shard, written once
    SET/.make_shards/parts-RUN/ATTEMPT/…        shards as workers have sent them

The holder of the lease copies a shard within the bucket from `parts-RUN` to its final name: frame tables first, then
the index, then the tar. Then it records the shard, with the size and the tag of each file. A shard that has a record,
and files of that size and tag, need not be made again; one listing says so of all.

Two runs that both believe to hold the lease do no harm. What they copy are the same bytes, or others, which is noticed
when tags are compared before the manifest is written; and the manifest is written only in the place of the one that
was read at the beginning, or where there was none.
"""

from __future__ import annotations

import contextlib
import errno
import io
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from ..errors import ShardingError, SourceError
from ..storage.frame_table import frames_name
from ..storage.index import Index, index_name, parse_index
from ..storage.manifest import MANIFEST_NAME, Manifest
from ..storage.remote.bucket import Bucket, Stored
from .attached_records import STORE_NAME
from .bucket_target import RECORDS_NAME, BucketTarget
from .journal import journal_line, read_stored
from .lease import Lease, hold_lease
from .set_place import FINISHED_NAME, PLAN_NAME, WORK_NAME, Entry
from .shard_content import ShardSummary
from .shard_job import ShardResult
from .shard_target import ShardTarget
from .source_reader import kept_when_stopped
from .temporary_disk import temporary_file, temporary_folder

__all__ = ["BucketPlace"]

LEASE_NAME = "lease.json"
READ_AT_ONCE = 16
OWN_NAMES = re.compile(rf"{re.escape(WORK_NAME)}/.*|[^/]+")
"""Of what a run uploads: its temporary objects, and the files of the set."""


class BucketPlace:
    """See `SetPlace`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket, self.out = bucket, bucket.shown
        self._lease: Lease | None = None
        self._manifest: Stored | None = None
        self._published: dict[str, Entry] = {}
        self._files = contextlib.ExitStack()
        self._records: Path | None = None

    def path_of(self, name: str) -> str:
        """See `SetPlace.path_of`."""
        return f"{self.out}/{name}"

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lease."""
        with self._files, hold_lease(self._bucket, f"{WORK_NAME}/{LEASE_NAME}") as self._lease:
            yield

    def has_unfinished(self) -> bool:
        """See `SetPlace.has_unfinished`; a lease counts as well."""
        return bool(self._bucket.listed(WORK_NAME))

    def has_work(self) -> bool:
        """See `SetPlace.has_work`."""
        return any(name != LEASE_NAME for name in self._bucket.listed(WORK_NAME))

    def entries(self) -> dict[str, Entry]:
        """See `SetPlace.entries`."""
        return {name: _entry(stored) for name, stored in self._bucket.listed_level().items()}

    def manifest(self) -> Manifest | None:
        """See `SetPlace.manifest`; its tag is kept, so that it is replaced only as it was read."""
        found = self._bucket.read(MANIFEST_NAME)
        if found is None:
            self._manifest = None
            return None
        self._manifest = found[1]
        return Manifest.parse(found[0], where=self.path_of(MANIFEST_NAME))

    def read(self, name: str) -> bytes | None:
        """See `SetPlace.read`."""
        found = self._bucket.read(name)
        return None if found is None else found[0]

    def read_index(self, tar: str, digest: str) -> Index:
        """See `SetPlace.read_index`."""
        content = self.read(index_name(tar))
        if content is None:
            raise FileNotFoundError(index_name(tar))
        return parse_index(content, where=self.path_of(index_name(tar)), digest=digest)

    @contextlib.contextmanager
    def open_lines(self, name: str) -> Iterator[IO[str]]:
        """See `SetPlace.open_lines`; the file is downloaded to a temporary one."""
        with temporary_file() as file:
            if self._bucket.stored(name) is None:
                raise FileNotFoundError(errno.ENOENT, "it is missing", name)
            self._bucket.download(name, file.write)
            file.seek(0)
            with io.TextIOWrapper(file, encoding="utf-8") as lines:
                yield lines

    def write(self, name: str, lines: Iterable[str]) -> None:
        """See `SetPlace.write`."""
        with kept_when_stopped(), temporary_file() as file:
            self._held().check()
            for line in lines:
                file.write((line + "\n").encode("utf-8", "backslashreplace"))
            self._bucket.upload(name, file)

    def write_manifest(self, manifest: Manifest) -> None:
        """See `SetPlace.write_manifest`; by If-None-Match or If-Match, after one listing of what was published."""
        there = self.entries()
        if changed := [name for name, entry in self._published.items() if there.get(name) != entry]:
            raise ShardingError(
                f"{self.path_of(changed[0])}: another run has changed it meanwhile. Run the same command again when no "
                "other run packs into this place: shards that are as they were made are kept."
            )
        self._held().check()
        content = manifest.to_json().encode("utf-8", "backslashreplace")
        if self._manifest is None:
            stored = self._bucket.create(MANIFEST_NAME, content)
        else:
            stored = self._bucket.replace(MANIFEST_NAME, content, self._manifest)
        if stored is None:
            raise ShardingError(
                f"{self.path_of(MANIFEST_NAME)}: another run has written it meanwhile, so that of this one is not "
                "written. Run the same command again to see what is missing."
            )

    def remove(self, names: Iterable[str]) -> None:
        """See `SetPlace.remove`."""
        names = list(names)
        self._held().check()
        self._bucket.delete(names)
        if MANIFEST_NAME in names:
            self._manifest = None

    def saved_plan(self) -> bytes | None:
        """See `SetPlace.saved_plan`."""
        return self.read(f"{WORK_NAME}/{PLAN_NAME}")

    def begin(self, plan: str) -> None:
        """See `SetPlace.begin`."""
        self.clear()
        if self._bucket.create(f"{WORK_NAME}/{PLAN_NAME}", plan.encode("utf-8")) is None:
            raise ShardingError(f"{self.out}: another run has begun to pack into it. Stop one of them.")

    def journal(self) -> list[bytes]:
        """See `SetPlace.journal`."""
        names = sorted(self._bucket.listed(f"{WORK_NAME}/{FINISHED_NAME}"))
        with ThreadPoolExecutor(READ_AT_ONCE) as threads:
            found = threads.map(lambda name: self.read(f"{WORK_NAME}/{FINISHED_NAME}/{name}"), names)
            return [line for line in found if line is not None]

    def confirmed(self, summary: ShardSummary, line: bytes, there: dict[str, Entry]) -> ShardSummary | None:
        """See `SetPlace.confirmed`: by the sizes and tags that the record gives and the listing has."""
        stored = {name: Entry(*facts) for name, facts in read_stored(line).items()}
        if not stored.keys() >= _files_of(summary) or any(
            there.get(name) != entry for name, entry in stored.items()
        ):
            return None
        self._published.update(stored)
        return summary

    @contextlib.contextmanager
    def scratch(self) -> Iterator[ShardTarget]:
        """See `SetPlace.scratch`."""
        self._held().check()
        self._clear_parts("parts-", OWN_NAMES)
        self._send_records()
        try:
            yield BucketTarget(self._bucket, self._parts)
        finally:
            with contextlib.suppress(SourceError):  # nothing of another run, which may hold the lease by now
                self._clear_parts(f"parts-{self._held().run}/", re.compile(re.escape(self._parts) + "/.*"))

    def _send_records(self) -> None:
        """For workers on other machines."""
        if self._records is not None and (store := self._records / STORE_NAME).exists():
            with store.open("rb") as file:
                self._bucket.upload(f"{self._parts}/{RECORDS_NAME}", file)

    def _clear_parts(self, begin: str, uploads: re.Pattern[str]) -> None:
        left = [name for name in self._bucket.listed(WORK_NAME) if name.startswith(begin)]
        self._bucket.delete(f"{WORK_NAME}/{name}" for name in left)
        self._bucket.abort_uploads(uploads)

    def publish(self, result: ShardResult) -> None:
        """See `SetPlace.publish`."""
        stored: dict[str, Entry] = {}
        made, names = f"{self._parts}/{result.attempt}", _files_of(result.summary)
        with kept_when_stopped():
            for name in sorted(names, key=lambda name: (name == result.summary.name, name)):
                self._held().check()
                size = result.summary.bytes if name == result.summary.name else None
                stored[name] = _entry(self._bucket.copy(f"{made}/{name}", name, size))
            self._held().check()
            line = journal_line(result, stored)
            self._bucket.write(f"{WORK_NAME}/{FINISHED_NAME}/{result.number:06d}.json", line)
            self._published.update(stored)
            self._bucket.delete(f"{made}/{name}" for name in names)

    def records_folder(self) -> Path:
        """See `SetPlace.records_folder`: a temporary folder of this machine."""
        if self._records is None:
            self._records = self._files.enter_context(temporary_folder())
        return self._records

    def clear(self) -> None:
        """See `SetPlace.clear`: all but the lease, the plan last."""
        self._held().check()
        left = [name for name in self._bucket.listed(WORK_NAME) if name != LEASE_NAME]
        self._bucket.delete(f"{WORK_NAME}/{name}" for name in left if name != PLAN_NAME)
        if PLAN_NAME in left:
            self._bucket.delete([f"{WORK_NAME}/{PLAN_NAME}"])

    @property
    def _parts(self) -> str:
        return f"{WORK_NAME}/parts-{self._held().run}"

    def _held(self) -> Lease:
        assert self._lease is not None, "the place is held"
        return self._lease


def _entry(stored: Stored) -> Entry:
    return Entry(stored.size, stored.plain_tag)


def _files_of(summary: ShardSummary) -> set[str]:
    """The names of the files of a shard."""
    if not summary.examples:
        return set()
    return {summary.name, index_name(summary.name)} | (
        {frames_name(summary.name)} if summary.frames_hash else set()
    )
