"""Rows, or windows of rows, of stored arrays: zarr and NumPy files.

rows       0 1 2 3 4 5 6 7 8 9 …       example i is row i, its key "i"
windows    ├───────┤                   window=4, hop=2: example i is rows [2i, 2i + 4), its key "NAME@2i"
               ├───────┤
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ExampleError, SourceError
from ...order.checked_numbers import whole_number
from ..source import Example, ReadOrder, Source
from .array_location import open_array
from .row_reader import RowReader
from .stored_array import MAX_CHUNK_BYTES, StoredArray, unreadable

__all__ = ["ArraySource", "RowFields"]

SMALLEST_SHARD_ROWS = 16
MOST_SHARDS = 10_000_000


class ArraySource(Source):
    """The rows of an array along `axis`, or windows of them; an example's bytes are its values in C order.

    place       a zarr array or group (a folder, a zip, a URL that zarr's stores know), a `.npy`, a `.npz`
    array       which array of a group or `.npz`; need not be given where there is one
    window, hop     examples are `window` rows, beginning every `hop` (by default as many); rows that are left over at
                the end fill no window and are left out
    axis        along which the rows lie
    cache_bytes     bound on the decoded chunks that are kept, in bytes; nothing is before the first read
    storage_options     for a URL: options of its file system

    The other arrays of the group are the examples' fields. Opening reads metadata alone. Raises `SourceError` for
    what cannot be read, `ValueError` or `TypeError` for windows that make no sense.
    """

    def __init__(
        self,
        place: str | os.PathLike[str],
        array: str | None = None,
        *,
        window: int | None = None,
        hop: int | None = None,
        axis: int = 0,
        cache_bytes: int = 256 << 20,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        self.place, self._storage_options = os.fspath(place), storage_options
        axis = whole_number("axis", axis, least=None)
        self.array = open_array(self.place, array, axis=axis, storage_options=storage_options)
        self.name = self.array.name
        self.window, self.hop = _checked_window(self.array, window, hop)
        self._reader = RowReader(whole_number("cache_bytes", cache_bytes, least=0), self.array.row_bytes)
        self._fields: dict[str, StoredArray] = {}
        self._stem = Path(array or self.place).name.partition(".")[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an example: a row's, or the array's with `window` along the axis."""
        array, window = self.array, () if self.window is None else (self.window,)
        return array.shape[: array.axis] + window + array.shape[array.axis + 1 :]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of an example: the stored one, in the machine's byte order."""
        return self.array.dtype

    @property
    def field_names(self) -> list[str]:
        """The other arrays that have been asked for."""
        return sorted(self._fields)

    @property
    def file_counts(self) -> NDArray[np.int64]:
        """As `shard_counts`: with shuffle="files" chunks come in random order, each from its first row to its last."""
        return self.shard_counts

    @property
    def cache_bytes(self) -> int:
        """The bound on the decoded chunks that are kept."""
        return self._reader.cache.capacity_bytes

    @property
    def clip_spec(self) -> dict[str, Any] | None:
        """How windows are cut, as JSON: it is part of a state. None for rows."""
        if self.window is None:
            return None
        return {"kind": "rows", "window": self.window, "hop": self.hop, "axis": self.array.axis}

    def __len__(self) -> int:
        rows = self.array.num_rows
        return rows if self.window is None else (rows - self.window) // self.hop + 1

    @property
    def _shard_rows(self) -> int:
        rows = self.array.chunk_rows if self.array.cached else self.array.num_rows
        return rows * -(-SMALLEST_SHARD_ROWS // rows)

    @property
    def shard_bytes(self) -> int:
        """The bytes of the chunks of one shard, decoded."""
        return self._shard_rows * self.array.row_bytes

    @property
    def shard_counts(self) -> NDArray[np.int64]:
        """Examples that begin in each chunk, or in each few chunks together where they hold less than 16 rows.

        (chunks,) int64, without those in which none begins. Raises `SourceError` above ten million.
        """
        rows = self._shard_rows
        num = -(-self.array.num_rows // rows)
        if num > MOST_SHARDS:
            raise SourceError(f"{self.name}: {num:,} chunks are too many to keep apart. Read it with shuffle=True.")
        firsts = np.minimum(-(-np.arange(num + 1) * rows // self.hop), len(self))
        counts = np.diff(firsts)
        return counts[counts > 0]

    def prefix_hash(self, examples: int) -> str | None:
        """Over what the first `examples` examples are made of: see `StoredArray.fingerprint`."""
        if not 0 < examples <= len(self):
            return None
        identity = self.array.fingerprint(self._span(examples - 1)[1])
        cut = None if self.window is None else {"window": self.window, "hop": self.hop, "axis": self.array.axis}
        return hashlib.sha256(f"{identity}\0{examples}\0{cut}".encode()).hexdigest()[:32]

    def keys(self) -> list[str]:
        """The key of every example; nothing is read."""
        return [self.key_of(index) for index in range(len(self))]

    def find(self, key: str) -> int:
        """The index of the example with this key. Raises `KeyError`."""
        number = key.removeprefix(f"{self._stem}@") if self.window is not None else key
        index = int(number) // self.hop if number.isdecimal() else -1
        if not 0 <= index < len(self) or self.key_of(index) != key:
            raise KeyError(f"{self.name}: no example {key!r}.")
        return index

    def field(self, name: str) -> StoredArray:
        """The array of the group that lies beside this one, along its own first axis.

        Raises `SourceError` if missing, or where it has another length.
        """
        if name not in self._fields:
            found = open_array(self.place, name, storage_options=self._storage_options)
            if found.num_rows != self.array.num_rows:
                raise SourceError(
                    f"{self.name} has {self.array.num_rows:,} rows, but {found.name} has {found.num_rows:,}. "
                    "Arrays side by side must be equally long."
                )
            self._fields[name] = found
            self._reader.example_bytes += found.row_bytes
        return self._fields[name]

    def read(self, indices: Sequence[int]) -> list[Example]:
        """The examples at these indices; of each chunk, all of its examples in one go.

        Raises `ExampleError` for one that lies in a chunk which cannot be read.
        """
        self._reader.prepare(self.array, map(self._span, indices))
        found: dict[int, Example] = {}
        for index in sorted(set(indices)):
            key = self.key_of(index)
            try:
                media = self.values(self.array, index).tobytes()
            except SourceError as error:
                raise ExampleError(self.name, key, str(error)) from error
            self._reader.due.served(index)
            found[index] = Example(int(index), key, media, self.name, fields=RowFields(self, int(index)))
        return [found[index] for index in indices]

    def expect(self, indices: NDArray[np.int64] | None, *, order: ReadOrder) -> None:
        """Say which rows are read next, so that as few chunks are decoded as possible.

        In the stored order the next chunk is decoded ahead of time; at random, the rows of a decoded chunk that are
        due soon are kept; shard by shard, whole chunks are.
        """
        self._reader.read_ahead = order == "stored"
        if indices is None:
            self._reader.due.clear()
        elif self.window is None and order == "random":
            self._reader.due.expect(indices.tolist())

    def values(self, array: StoredArray, index: int) -> NDArray[Any]:
        """What example `index` holds of this array or of a field, not to be written to."""
        start, stop = self._span(index)
        rows = self._reader.rows(array, start, stop)
        return rows if self.window is not None else rows.squeeze(array.axis)

    def _span(self, index: int) -> tuple[int, int]:
        """Rows [start, stop) of an example."""
        start = int(index) * self.hop
        return start, start + (self.window or 1)

    def key_of(self, index: int) -> str:
        """The key of an example: its row's number, or `NAME@START` for a window."""
        start = self._span(index)[0]
        return str(start) if self.window is None else f"{self._stem}@{start}"

    def close(self) -> None:
        """Let go of decoded chunks and open files."""
        self._reader.close()
        for array in (self.array, *self._fields.values()):
            array.close()

    def __repr__(self) -> str:
        cut = "" if self.window is None else f", window={self.window}, hop={self.hop}"
        return f"ArraySource({self.name!r}, {len(self):,} of {self.shape} {self.dtype}{cut})"


@dataclass(frozen=True, slots=True)
class RowFields(Mapping[str, bytes]):
    """What stands beside an example in the other arrays of its group; each is read when it is asked for."""

    source: ArraySource
    index: int

    def array(self, name: str) -> NDArray[Any]:
        """The rows of the example in an array of the group, not to be written to. Raises `ExampleError`."""
        array = self.source.field(name)
        try:
            return self.source.values(array, self.index)
        except SourceError as error:
            raise ExampleError(array.name, self.source.key_of(self.index), str(error)) from error

    def __getitem__(self, name: str) -> bytes:
        return self.array(name).tobytes()

    def __iter__(self) -> Iterator[str]:
        return iter(self.source.field_names)

    def __len__(self) -> int:
        return len(self.source.field_names)


def _checked_window(array: StoredArray, window: int | None, hop: int | None) -> tuple[int | None, int]:
    """The window, and the rows from one example to the next."""
    if window is None and hop is not None:
        raise ValueError(f"hop is {hop}, but there is no window. Give window=…, or leave hop out.")
    if window is None:
        return None, 1
    window = whole_number("window", window)
    hop = window if hop is None else whole_number("hop", hop)
    if window > array.num_rows:
        raise SourceError(f"{array.name}: {array.num_rows:,} rows do not fill one window of {window:,}.")
    if window * array.row_bytes > MAX_CHUNK_BYTES:
        raise unreadable(array.name, f"a window of {window:,} rows", window * array.row_bytes)
    return window, hop
