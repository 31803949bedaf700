"""Shards of a zarr array in a local folder: files of several chunks, found by the index each of them carries."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import SourceError
from ...storage.blob import LocalFile
from .zarr_codecs import check_crc32c
from .zarr_layout import Layout

__all__ = ["Shards"]

ABSENT = (1 << 64) - 1
OPEN_SHARDS = 64
INDEX_BYTES = 64 << 20  # of all indexes that are kept, and of the largest one that is read


@dataclass(frozen=True, slots=True)
class OpenShard:
    """A shard in use: what its path led to when it was opened, and where its chunks lie in it."""

    identity: tuple[int, int, int]
    file: LocalFile
    index: NDArray[np.uint64]


class Shards:
    """Finds chunks in shards. A few shards stay open; one that was written anew is opened anew."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._keep = max(1, min(OPEN_SHARDS, INDEX_BYTES // layout.index_bytes))
        self._forget_live()

    def _forget_live(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[str, OpenShard] = OrderedDict()

    def span(self, path: str, inside: Sequence[int]) -> tuple[LocalFile, int, int] | None:
        """The file, and offset and length of a chunk in it; None where the shard or the chunk is absent.

        inside: the chunk's place among those of the shard, along each axis. Raises `SourceError` with the reason.
        """
        shard = self._shard(path)
        if shard is None:
            return None
        offset, length = map(int, shard.index[np.ravel_multi_index(inside, self._layout.chunks_per_file)])
        return None if (offset, length) == (ABSENT, ABSENT) else (shard.file, offset, length)

    def _shard(self, path: str) -> OpenShard | None:
        try:
            status = os.stat(path)  # noqa: PTH116 (for each chunk: microseconds count)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceError(f"it cannot be read ({error.strerror})") from error
        identity = (status.st_ino, status.st_mtime_ns, status.st_size)
        with self._lock:
            shard = self._open.get(path)
            if shard is not None and shard.identity == identity:
                self._open.move_to_end(path)
                return shard
        file = LocalFile(path)
        shard = OpenShard(identity, file, self._index(file))
        with self._lock:
            self._open[path] = shard
            while len(self._open) > self._keep:
                self._open.popitem(last=False)
        return shard

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
        with self._lock:
            self._open.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_lock", "_open")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_live()
