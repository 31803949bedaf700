"""Chunks of a zarr array in a local folder: read and decompressed in the calling thread, past zarr's event loop."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import SourceError
from ...storage.blob import LocalFile
from .zarr_layout import ChunkKeys, Layout
from .zarr_shards import Shards

__all__ = ["LocalChunks", "check_files"]

MARGIN_BYTES = 1 << 16  # that compression may add to a chunk, beside as much as the chunk itself


class LocalChunks:
    """Reads bands of chunks: those with one number along `axis`, all others beside it.

    Files that are missing, and chunks that a shard leaves out, hold the fill value.
    """

    def __init__(self, folder: Path, layout: Layout, shape: tuple[int, ...], fill_value: Any, *, axis: int) -> None:
        self._folder, self._layout, self._shape, self._axis = str(folder), layout, shape, axis
        self._native = layout.dtype.newbyteorder("=")
        self._fill_value = fill_value if fill_value is not None else 0
        self._shards = Shards(layout) if layout.index is not None else None

    @classmethod
    def of(cls, folder: Path, array: Any, metadata: dict[str, Any], *, axis: int) -> LocalChunks | None:
        """For a zarr array and its metadata as stored; None where its layout or codecs are zarr's own affair."""
        try:
            layout = Layout.of(metadata, array.dtype)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            return None  # a spelling that only zarr understands
        if (
            layout is None
            or layout.chunk != tuple(array.chunks)
            or layout.file != tuple(array.shards or array.chunks)
        ):
            return None
        return cls(folder, layout, tuple(array.shape), array.fill_value, axis=axis)

    def read(self, number: int, rows: int) -> NDArray[Any]:
        """The first `rows` rows of band `number`, in the array's layout. Raises `SourceError` with the reason."""
        axis, chunk = self._axis, self._layout.chunk
        wanted = (*self._shape[:axis], rows, *self._shape[axis + 1 :])
        numbers = [range(math.ceil(size / cut)) for size, cut in zip(self._shape, chunk, strict=True)]
        numbers[axis] = range(number, number + 1)
        if math.prod(map(len, numbers)) == 1:
            found = self._chunk([along[0] for along in numbers])
            if found is not None:
                cut = found[tuple(map(slice, wanted))]
                return cut if cut.size == found.size else cut.copy()  # a view would keep the whole chunk alive
        whole = np.full(wanted, self._fill_value, self._native)
        for coordinates in product(*numbers):
            found = self._chunk(coordinates)
            if found is not None:
                begins = [at * cut for at, cut in zip(coordinates, chunk, strict=True)]
                begins[axis] = 0
                target = whole[tuple(slice(begin, begin + cut) for begin, cut in zip(begins, chunk, strict=True))]
                target[...] = found[tuple(map(slice, target.shape))]
        return whole

    def _chunk(self, coordinates: Sequence[int]) -> NDArray[Any] | None:
        """A whole chunk, with what of it lies beyond the array's end; None where nothing is stored."""
        layout = self._layout
        key = layout.keys.path([at // num for at, num in zip(coordinates, layout.chunks_per_file, strict=True)])
        try:
            content = self._content(f"{self._folder}/{key}", coordinates)
            if content is None:
                return None
            for decompress in layout.decompressors:
                content = decompress(content)
        except SourceError as error:
            raise SourceError(f"chunk {key} cannot be read: {error}") from error
        found = np.frombuffer(content, np.uint8)
        if len(found) != layout.chunk_bytes:
            raise SourceError(f"chunk {key} holds {len(found):,} bytes instead of {layout.chunk_bytes:,}")
        return found.view(layout.dtype).reshape(layout.chunk).astype(self._native, copy=False)

    def _content(self, path: str, coordinates: Sequence[int]) -> Any:
        """The bytes of a chunk as they are stored, None if missing."""
        if self._shards is not None:
            inside = [at % num for at, num in zip(coordinates, self._layout.chunks_per_file, strict=True)]
            span = self._shards.span(path, inside)
            if span is None:
                return None
            file, offset, length = span
        else:
            try:
                status = os.stat(path)  # noqa: PTH116 (for each chunk: microseconds count)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                raise SourceError(f"it cannot be read ({error.strerror})") from error
            if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
                raise SourceError("it is not a file")
            file = LocalFile(path)
            offset, length = 0, file.size
        if length > 2 * self._layout.chunk_bytes + MARGIN_BYTES or offset + length > file.size:
            raise SourceError(f"{length:,} bytes at byte {offset:,} of {file.size:,} cannot be right")
        content = file.read(offset, length)
        if len(content) < length:
            raise SourceError(f"the file ends at byte {offset + len(content):,}")
        return content

    def close(self) -> None:
        """Let go of open files."""
        if self._shards is not None:
            self._shards.close()


def check_files(
    folder: Path,
    metadata: dict[str, Any],
    shape: tuple[int, ...],
    file: tuple[int, ...],
    *,
    axis: int,
    start: int,
    stop: int,
) -> None:
    """Raise `SourceError` where rows [start, stop) lie in something that zarr would wait for: a pipe, a device.

    metadata    the array's, as stored in `folder`; file: the shape of what one file holds
    """
    keys = ChunkKeys.of(metadata)
    if keys is None:
        return
    numbers = [range(math.ceil(size / cut)) for size, cut in zip(shape, file, strict=True)]
    numbers[axis] = range(start // file[axis], -(-stop // file[axis]))
    for coordinates in product(*numbers):
        path = folder / keys.path(coordinates)
        if path.exists() and not path.is_file():
            raise SourceError(f"chunk {keys.path(coordinates)} cannot be read: it is not a file")
