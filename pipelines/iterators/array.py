"""Batches of stored arrays: the rows of a zarr or NumPy array, or windows of them, in the array's own layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ..batching.options import Reading, check_settings, field_names
from ..decode.decoder import Details
from ..order.randomness import Place
from ..sources.arrays.array_source import ArraySource, RowFields
from ..sources.source import Example, Source
from .data import DataIterator

__all__ = ["ArrayDecoder", "ArrayIterator"]


class ArrayDecoder:
    """The bytes of an example of an `ArraySource` as an array of a shape and dtype, and its fields as arrays."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], fields: Sequence[str] = ()) -> None:
        self.shape, self.dtype, self.fields = shape, dtype, tuple(fields)

    def allocate(self, num: int) -> NDArray[Any] | None:
        """A batch's array: (num, *shape). None for single numbers: a slot of their batch is not an array."""
        return np.empty((num, *self.shape), self.dtype) if self.shape else None

    def decode_into(self, example: Example, out: NDArray[Any], place: Place) -> Details:
        """Copy the values into a slot. Raises `ExampleError` for a field that cannot be read."""
        out[...], details = self.decode(example, place)
        return details

    def decode(self, example: Example, place: Place) -> tuple[NDArray[Any], Details]:
        """The values, not to be written to."""
        values = np.frombuffer(example.media, self.dtype).reshape(self.shape)
        if not self.fields:
            return values, Details()
        assert isinstance(example.fields, RowFields)
        return values, Details(fields={name: example.fields.array(name).copy() for name in self.fields})

    def __repr__(self) -> str:
        return f"{self.dtype} {self.shape}"


class ArrayIterator(DataIterator):
    """Batches of a stored array: (batch, *row) or (batch, window, *row), in the array's own layout and dtype.

    source      a zarr array or group (a folder, a URL, a zip), a `.npy`, an `.npz`, an `ArraySource` or part of one
    arrays      which array of a group or `.npz` is the data; need not be given where there is one
    window, hop     windows of this many rows along the axis, beginning every `hop` rows (by default as many)
    axis        along which the rows lie; of a (channel, time) array, axis=1 gives windows (batch, channel, window)
    cache_bytes     bound on the decoded chunks that are kept
    storage_options     for a URL: options of its file system
    fields      other arrays of the group, as long as this one: each comes as (batch, *row) or (batch, window, *row)

    Everything else is as in `DataIterator`; the "shards" of `shuffle_shards` are the array's chunks. shuffle=True is
    uniform, and each row of a compressed array that is not in the cache costs the decoding of a whole chunk;
    shuffle_shards=K is uniform within windows of K chunks and decodes each of them once. Raises `ValueError` where
    the cache is too small for that, `SourceError` for arrays that are missing, unequally long, or cannot be read.
    """

    def __init__(
        self,
        source: Source | str | os.PathLike[str],
        *,
        arrays: str | None = None,
        window: int | None = None,
        hop: int | None = None,
        axis: int = 0,
        cache_bytes: int | None = None,
        storage_options: dict[str, Any] | None = None,
        **reading: Unpack[Reading],
    ) -> None:
        check_settings(type(self), reading)
        if not isinstance(source, Source | str | os.PathLike):
            raise TypeError(f"source is {source!r}; it must be a path, a URL or an ArraySource.")
        if arrays is not None and not isinstance(arrays, str):
            raise TypeError(f"arrays is {arrays!r}; it must name one array. Name the others by fields=[…].")
        cut = {"window": window, "hop": hop, "axis": axis or None}
        opening = {**cut, "cache_bytes": cache_bytes, "storage_options": storage_options}
        given = {name: value for name, value in opening.items() if value is not None}
        if not isinstance(source, Source):
            source = ArraySource(source, arrays, **given)  # type: ignore[arg-type]
        elif given or arrays is not None:
            names = ", ".join([*given, *(["arrays"] if arrays is not None else [])])
            raise ValueError(f"{source.name} is open already. Give {names} to the ArraySource it was opened by.")
        opened = _array_source_of(source)
        fields = field_names(reading.get("fields", ()))
        for name in fields:
            opened.field(name)
        _check_cache(opened, reading.get("shuffle_shards"), reading.get("groups", 1))
        super().__init__(source, ArrayDecoder(opened.shape, opened.dtype, fields), **reading)


def _array_source_of(source: Source) -> ArraySource:
    """The arrays that a part of a source is drawn from."""
    inner: Any = source
    while not isinstance(inner, ArraySource):
        inner = getattr(inner, "source", None)
        if inner is None:
            raise TypeError(f"{source.name}: ArrayIterator reads an ArraySource or part of one, not {source!r}.")
    return inner


def _check_cache(source: ArraySource, shuffle_shards: int | None, groups: int) -> None:
    """Raise `ValueError` where the windows of chunks that are read together do not fit the cache."""
    if shuffle_shards is None or not source.array.cached:
        return
    needed = shuffle_shards * groups * source.shard_bytes
    if needed > source.cache_bytes:
        raise ValueError(
            f"{source.name}: {shuffle_shards} × {groups} chunks of {source.shard_bytes:,} bytes do not fit "
            f"cache_bytes={source.cache_bytes:,}. Give cache_bytes={needed:,}, or a smaller shuffle_shards."
        )
