"""Shards of a zarr array in a local folder: files of several chunks, found by the index each of them carries."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import SourceError
from ...storage.blob import LocalFile
from ...storage.cache import stat_numbers
from ...storage.live_cache import LiveCache
from .zarr_codecs import check_crc32c
from .zarr_layout import Layout

__all__ = ["Shards"]

ABSENT = (1 << 64) - 1
OPEN_SHARDS = 64
INDEX_BYTES = 64 << 20  # of all indexes that are kept, and of the largest one that is read


@dataclass(frozen=True, slots=True)
class OpenShard:
    """A shard in use, and where its chunks lie in it."""

    file: LocalFile
    index: NDArray[np.uint64]


class Shards:
    """Finds chunks in shards. A few shards stay open; one that was written again is opened again."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        kept = max(1, min(OPEN_SHARDS, INDEX_BYTES // layout.index_bytes))
        self._open_shards = LiveCache[tuple[str, tuple[int, ...]], OpenShard](kept)

    def span(self, path: str, inside: Sequence[int]) -> tuple[LocalFile, int, int] | None:
        """The file, and offset and length of a chunk in it; None where the shard or the chunk is absent.

        inside: the chunk's place among those of the shard, along each axis. Raises `SourceError` with the reason.
        """
        try:
            status = os.stat(path)  # noqa: PTH116 (for each chunk: microseconds count)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SourceError(f"it cannot be read ({error.strerror})") from error
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
            raise SourceError("it is not a file")
        shard = self._open_shards.get((path, stat_numbers(status)), self._open)
        offset, length = map(int, shard.index[np.ravel_multi_index(inside, self._layout.chunks_per_file)])
        return None if (offset, length) == (ABSENT, ABSENT) else (shard.file, offset, length)

    def _open(self, name: tuple[str, tuple[int, ...]]) -> OpenShard:
        """Open a shard, named by its path and by what tells whether it is still the same file."""
        file = LocalFile(name[0])
        return OpenShard(file, self._index(file))

    def _index(self, file: LocalFile) -> NDArray[np.uint64]:
        """(chunks, 2) uint64: offset and length of each chunk."""
        layout = self._layout
        size = layout.index_bytes
        content: Any = file.read(max(0, file.size - size) if layout.index == "end" else 0, size)
        if len(content) < size:
            raise SourceError(f"it has {file.size:,} bytes, and its index alone {size:,}: it is cut off")
        if layout.index_checked:
            content = check_crc32c(content)
        return np.frombuffer(content, "<u8").reshape(-1, 2)

    def close(self) -> None:
        """Let go of open shards."""
        self._open_shards.clear()
