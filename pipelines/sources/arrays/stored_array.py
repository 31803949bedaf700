"""One stored array, read by stretches along the axis on which its examples lie."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import SourceError

__all__ = [
    "MAX_CHUNK_BYTES",
    "StoredArray",
    "check_rows",
    "checked_axis",
    "checked_dtype",
    "checked_shape",
    "unreadable",
]

MAX_CHUNK_BYTES = 1 << 30
"""What is read together may hold so much, decoded; also the largest row."""

MAX_AXES = 32


class StoredArray(ABC):
    """An array in a file or a folder, cut into chunks of `chunk_rows` rows along `axis`; a row is what stands there.

    name        the place and the array's name, for errors
    shape       of the whole array, as stored
    dtype       of what is read: the stored one, in the machine's byte order
    axis        along which the rows lie, from 0
    chunk_rows  rows that are decoded together, all other axes whole; the last chunk may hold fewer
    cached      whether a chunk is expensive enough to be kept for the rows that are read next
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axis: int
    chunk_rows: int
    cached: bool

    @property
    def num_rows(self) -> int:
        """Rows along the axis."""
        return self.shape[self.axis]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self.shape[: self.axis] + self.shape[self.axis + 1 :]

    @property
    def row_bytes(self) -> int:
        """The bytes of one row, decoded."""
        return math.prod(self.row_shape) * self.dtype.itemsize

    @property
    def chunk_bytes(self) -> int:
        """The bytes of one chunk, decoded."""
        return self.chunk_rows * self.row_bytes

    def chunks_of(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """The chunks under rows [start, stop), and which of each chunk's own rows: (chunk, begin, end)."""
        for number in range(start // self.chunk_rows, -(-stop // self.chunk_rows)):
            before = number * self.chunk_rows
            yield number, max(start - before, 0), min(stop - before, self.chunk_rows)

    def along(self, start: int, stop: int) -> tuple[slice, ...]:
        """What cuts rows [start, stop) out of something of the array's layout."""
        return (*(slice(None),) * self.axis, slice(start, stop))

    @abstractmethod
    def read_chunk(self, number: int) -> NDArray[Any]:
        """A chunk in the array's layout, not to be written to. Raises `SourceError` with the reason alone."""

    @abstractmethod
    def read_rows(self, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) in the array's layout, past any cache. Raises `SourceError` with the reason alone."""

    @abstractmethod
    def fingerprint(self, rows: int) -> str:
        """Identifies the first `rows` rows as far as is cheap to tell; rows appended behind them do not change it."""

    def close(self) -> None:  # noqa: B027 (an array without open files has nothing to close)
        """Let go of open files; the array can be read again afterwards."""


def checked_shape(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """The shape. Raises `SourceError` for one that no machine could address."""
    if len(shape) > MAX_AXES:
        raise SourceError(f"{name}: it has {len(shape)} axes; at most {MAX_AXES} can be read.")
    if min(shape, default=0) < 0 or math.prod(max(size, 1) for size in shape) * max(dtype.itemsize, 1) >= 1 << 63:
        raise SourceError(f"{name}: its shape {shape} cannot be real. Its metadata is damaged; write it again.")
    return shape


def checked_dtype(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in the machine's byte order. Raises `SourceError` for Python objects and strings of any length."""
    if dtype.hasobject or dtype.kind == "T" or not dtype.itemsize:
        raise SourceError(
            f"{name}: its values are of type {dtype}; only numbers and values of a fixed size are read, never "
            "Python objects. Store them as such, strings as e.g. '<U16'."
        )
    return dtype.newbyteorder("=")


def checked_axis(name: str, shape: tuple[int, ...], axis: int) -> int:
    """The axis, counted from 0. Raises `SourceError` where the array lacks it, or has nothing along it."""
    if not -len(shape) <= axis < len(shape):
        raise SourceError(f"{name}: its shape is {shape}; it has no axis {axis}. Name one that it has.")
    if not shape[axis]:
        raise SourceError(f"{name}: its shape is {shape}; there is nothing along axis {axis}. Fill it first.")
    return axis % len(shape)


def check_rows(name: str, row_bytes: int) -> None:
    """Raise `SourceError` for rows that hold nothing: any number of them would fit into a file without values."""
    if not row_bytes:
        raise SourceError(f"{name}: its rows hold no values. Fill it first.")


def unreadable(name: str, what: str, num_bytes: int) -> SourceError:
    """The error for an array whose smallest readable piece is above `MAX_CHUNK_BYTES`."""
    return SourceError(
        f"{name}: {what} holds {num_bytes:,} bytes, and at most {MAX_CHUNK_BYTES:,} are read at once. "
        "Store it in smaller chunks."
    )
