"""Arrays of zarr, version 3 or 2, as stored arrays: by `zarr_chunks.py` where possible, else by zarr itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ...errors import SourceError
from .stored_array import (
    MAX_CHUNK_BYTES,
    StoredArray,
    check_rows,
    checked_axis,
    checked_dtype,
    checked_shape,
    unreadable,
)
from .zarr_chunks import LocalChunks, check_files
from .zarr_fingerprint import describe_files, fingerprint
from .zarr_node import ZarrLocation, first_line
from .zarr_shards import INDEX_BYTES

if TYPE_CHECKING:
    import zarr

__all__ = ["ZarrArray"]

MAX_CHUNKS = 1 << 16  # that one row may lie in


class ZarrArray(StoredArray):
    """An array of a zarr place. Its size is that of the moment it was opened; what is appended comes with the next.

    Raises `SourceError` for a missing array, unreadable metadata, Python objects, chunks above `MAX_CHUNK_BYTES`.
    """

    cached = True

    def __init__(self, place: ZarrLocation, array_name: str | None = None, *, axis: int = 0) -> None:
        self.place, self.array_name = place, array_name
        self.name = place.named(array_name)
        array, stored = place.array(array_name)
        self.dtype = checked_dtype(self.name, array.dtype)
        self.shape = checked_shape(self.name, tuple(array.shape), self.dtype)
        self.axis = checked_axis(self.name, self.shape, axis)
        self.chunk_rows, self._file_shape = _checked_cuts(self.name, array, self.axis)
        check_rows(self.name, self.row_bytes)
        if self.chunk_bytes > MAX_CHUNK_BYTES:
            raise unreadable(self.name, f"a chunk of {self.chunk_rows:,} rows, each whole,", self.chunk_bytes)
        beside = [cut for at, cut in enumerate(array.chunks) if at != self.axis]
        _check_chunks_of_a_row(self.name, self.row_shape, beside)
        folder = place.folder(array_name)
        self._chunks = LocalChunks.of(folder, array, stored, axis=self.axis) if stored is not None else None
        self._is_local = stored is not None
        self._metadata = stored if stored is not None else dict(array.metadata.to_dict())
        self._fingerprints: dict[int, str] = {}
        self._opened: zarr.Array[Any] | None = None

    def read_chunk(self, number: int) -> NDArray[Any]:
        """A chunk, with all that stands beside it on the other axes. Raises `SourceError` with the reason alone."""
        start = number * self.chunk_rows
        stop = min(start + self.chunk_rows, self.num_rows)
        return self._chunks.read(number, stop - start) if self._chunks is not None else self.read_rows(start, stop)

    def read_rows(self, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop), by zarr itself."""
        try:
            if self._is_local:
                files = (self._metadata, self.shape, self._file_shape)
                check_files(self.place.folder(self.array_name), *files, axis=self.axis, start=start, stop=stop)
            opened = self._opened
            if opened is None:
                opened = self._opened = self.place.array(self.array_name)[0]
            found: Any = opened[self.along(start, stop)]
            return found.astype(self.dtype, copy=False)  # type: ignore[no-any-return]
        except SourceError:
            raise
        except Exception as error:  # stores and codecs raise what they like
            raise SourceError(f"rows {start:,} to {stop:,} cannot be read ({first_line(error)})") from error

    def fingerprint(self, rows: int) -> str:
        """Over the metadata but for the length; of a local folder also over the ends of some of its chunks' files."""
        if rows not in self._fingerprints:
            folder, axis = self.place.folder(self.array_name), self.axis
            signs = describe_files(folder, self._metadata, self.shape, self._file_shape, axis=axis, rows=rows)
            files = signs if self._is_local else iter(())
            self._fingerprints[rows] = fingerprint(self._metadata, axis, rows, files)
        return self._fingerprints[rows]

    def close(self) -> None:
        """Let go of open files and of what zarr has open."""
        self._opened = None
        if self._chunks is not None:
            self._chunks.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


def _checked_cuts(name: str, array: Any, axis: int) -> tuple[int, tuple[int, ...]]:
    """Rows in a chunk, and the shape of what one file holds. Raises `SourceError` for chunks that are too large."""
    try:
        chunk, file = tuple(array.chunks), tuple(array.shards or array.chunks)
    except Exception as error:  # grids that are no regular ones
        raise SourceError(f"{name}: its chunks are cut in a way that is not read ({first_line(error)}).") from error
    if len(chunk) != len(array.shape) or len(file) != len(chunk) or min(*chunk, *file, 1) < 1:
        raise SourceError(f"{name}: chunks of {chunk} in files of {file} hold nothing. Its metadata is damaged.")
    num_bytes = math.prod(chunk) * array.dtype.itemsize
    if num_bytes > MAX_CHUNK_BYTES:
        raise unreadable(name, f"a chunk of {chunk}", num_bytes)
    index_bytes = 16 * math.prod(whole // part for whole, part in zip(file, chunk, strict=True))
    if index_bytes > INDEX_BYTES:
        raise SourceError(
            f"{name}: a shard's index of {index_bytes:,} bytes is above {INDEX_BYTES:,}. Use larger chunks."
        )
    return int(chunk[axis]), tuple(map(int, file))


def _check_chunks_of_a_row(name: str, row: tuple[int, ...], cuts: Sequence[int]) -> None:
    """Raise `SourceError` for rows that lie in more chunks than can be opened one by one."""
    num = math.prod(-(-size // cut) for size, cut in zip(row, cuts, strict=True))
    if num > MAX_CHUNKS:
        raise SourceError(
            f"{name}: a row lies in {num:,} chunks; at most {MAX_CHUNKS:,} are read. Use larger chunks."
        )
