"""A shard that goes to a bucket: packed in a nameless file on the worker's temporary disk, then sent in parts.

    temporary disk, one shard per worker      no name: the system frees it however the worker ends
      ──upload──▶  SET/.make_shards/parts-RUN/ATTEMPT/NAME.tar.frames.npy, NAME.tar.index.npy, NAME.tar

Each upload is checked before the shard counts as packed.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..storage.frame_table import frames_bytes, frames_name
from ..storage.index import index_bytes, index_digest, index_name
from ..storage.remote.bucket import Bucket
from .attached_records import open_store
from .shard_content import ShardContent, ShardSummary
from .shard_target import OpenShard
from .source_reader import kept_when_stopped

if TYPE_CHECKING:
    from .annotations.store import AnnotationStore

__all__ = ["RECORDS_NAME", "BucketTarget"]


RECORDS_NAME = "records.store"
_DOWNLOADED: dict[tuple[str, str], AnnotationStore] = {}


@dataclass(frozen=True, slots=True)
class BucketTarget:
    """`bucket` is the set, `folder` the temporary place in it of this run."""

    bucket: Bucket
    folder: str

    def written(self, name: str) -> str:
        """See `ShardTarget.written`."""
        return f"{tempfile.gettempdir()}, the folder for temporary files (TMPDIR) in which {name} is packed"

    def open_records(self, path: Path) -> AnnotationStore:
        """See `ShardTarget.open_records`; on another machine than the holder's it is downloaded, once per process."""
        if path.exists():
            return open_store(path)
        from .annotations.store import AnnotationStore

        place = self.bucket.root_url, self.folder
        if place not in _DOWNLOADED:
            with tempfile.NamedTemporaryFile() as file:  # it stays open, and mapped, without its name
                self.bucket.download(f"{self.folder}/{RECORDS_NAME}", file.write)
                file.flush()
                found = AnnotationStore(Path(file.name))
                found.categories  # noqa: B018 (opens it)
            _DOWNLOADED.clear()
            _DOWNLOADED[place] = found
        return _DOWNLOADED[place]

    def begin(self, name: str, attempt: str) -> OpenShard:
        """See `ShardTarget.begin`."""
        return _ShardOfBucket(self.bucket, f"{self.folder}/{attempt}", name)


class _ShardOfBucket(ShardContent):
    def __init__(self, bucket: Bucket, folder: str, name: str) -> None:
        self._bucket, self._folder = bucket, folder
        self._temporary: IO[Any] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by finish and abort)
        super().__init__(self._temporary, name)

    def finish(self) -> ShardSummary:
        """Send the frame tables, the index and the tar. Raises `PackingStoppedError` where that cannot be done."""
        self.end()
        index, frames = index_bytes(self.index), self.frames
        tables = None if frames is None else frames_bytes(frames)
        summary = self.summary(index_digest(index), "" if tables is None else index_digest(tables))
        path = f"{self._folder}/{self.name}"
        with kept_when_stopped():
            if tables is not None:
                self._bucket.upload(frames_name(path), io.BytesIO(tables))
            self._bucket.upload(index_name(path), io.BytesIO(index))
            self._bucket.upload(path, self._temporary, summary.sha256)
        self._temporary.close()
        return summary

    def abort(self) -> None:
        """Free the temporary file. What is in the bucket is cleared away with the run."""
        with contextlib.suppress(OSError):
            self._temporary.close()
