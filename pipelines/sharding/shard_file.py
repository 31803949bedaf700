"""One shard while it is written: a tar under a temporary name, its index, both renamed into place at the end.

    .NAME.tar.part  ──fsync──▶  NAME.tar.frames.npy, of videos  ──▶  NAME.tar.index.npy  ──▶  NAME.tar

So a tar that is there is whole and has its index and its frame tables. A killed writer leaves only the hidden part
file, which the next one of that name replaces.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..storage.durable_files import WriteBehind, fsync_folder
from ..storage.frame_table import frames_path, save_frames
from ..storage.index import index_digest, index_path, save_index
from ..storage.plain_files import create_plain
from .shard_content import ShardContent, ShardSummary

__all__ = ["ShardFile"]

BUFFER_BYTES = 1 << 16


class ShardFile(ShardContent):
    """Writes the examples of one shard to `path`; nothing is there until `finish`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = _part_of(path)
        file = create_plain(self._part, buffer_bytes=BUFFER_BYTES)
        self._behind = WriteBehind(file.fileno())
        super().__init__(file, path.name)

    def _write(self, content: bytes) -> None:
        super()._write(content)
        self._behind.wrote(len(content))

    def finish(self) -> ShardSummary:
        """End the archive, fsync it, and rename first its frame tables, then its index and then itself into place."""
        self.end()
        self._behind.wait()
        os.fsync(self._file.fileno())
        self._file.close()
        index = index_path(self.path)
        index_part = _part_of(index)
        digest = save_index(index_part, self.index)
        frames_hash = self._finish_tables()
        index_part.replace(index)
        self._part.replace(self.path)
        fsync_folder(self.path.parent)
        return self.summary(digest, frames_hash)

    def _finish_tables(self) -> str:
        """Write the frame tables, if there are any, in their place; returns their digest."""
        if (frames := self.frames) is None:
            return ""
        path = frames_path(self.path)
        content = save_frames(_part_of(path), frames)
        _part_of(path).replace(path)
        return index_digest(content)

    def abort(self) -> None:
        """Remove what was written; a finished shard of that name, from before, stays as it was."""
        with contextlib.suppress(OSError):
            self._behind.wait()
        with contextlib.suppress(OSError):  # closing flushes, which fails again where the disk is full
            self._file.close()
        for path in (self.path, index_path(self.path), frames_path(self.path)):
            _part_of(path).unlink(missing_ok=True)


def _part_of(path: Path) -> Path:
    """The name under which a file is written."""
    return path.with_name(f".{path.name}.part")
