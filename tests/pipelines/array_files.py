"""Little arrays in every layout that is read, and what NumPy says they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

LAYOUTS: dict[str, dict[str, Any]] = {
    "chunks": {"chunks": (8, 5, 4)},
    "cut_on_every_axis": {"chunks": (8, 2, 3)},
    "shards": {"chunks": (4, 5, 4), "shards": (16, 5, 4)},
    "shards_cut_on_every_axis": {"chunks": (4, 3, 2), "shards": (16, 6, 4)},
    "one_chunk": {"chunks": (64, 5, 4)},
    "one_row_a_chunk": {"chunks": (1, 5, 4)},
    "uncompressed": {"chunks": (8, 5, 4), "compressors": None},
    "blosc": {"chunks": (8, 5, 4), "compressors": zarr.codecs.BloscCodec(cname="lz4", shuffle="bitshuffle")},
    "gzip": {"chunks": (8, 5, 4), "compressors": zarr.codecs.GzipCodec(level=5)},
    "checked": {
        "chunks": (8, 5, 4),
        "compressors": [zarr.codecs.ZstdCodec(checksum=True), zarr.codecs.Crc32cCodec()],
    },
    "big_endian": {"chunks": (8, 5, 4), "serializer": zarr.codecs.BytesCodec(endian="big")},
    "transposed": {"chunks": (8, 5, 4), "filters": zarr.codecs.TransposeCodec(order=(2, 0, 1))},
    "dotted_names": {"chunks": (8, 5, 4), "chunk_key_encoding": {"name": "v2", "separator": "."}},
    "version_2": {"chunks": (8, 5, 4), "zarr_format": 2},
    "version_2_uncompressed": {"chunks": (8, 5, 4), "zarr_format": 2, "compressors": None},
    "version_2_big_endian": {"chunks": (8, 5, 4), "zarr_format": 2, "dtype": ">f4"},
    "version_2_fortran": {"chunks": (8, 5, 4), "zarr_format": 2, "order": "F"},
}
"""Settings of `zarr.create_array` for an array of (rows, 5, 4)."""

READ_BY_ZARR = {"transposed", "version_2_fortran"}


def numbers(rows: int = 53, row: tuple[int, ...] = (5, 4), dtype: str = "float32") -> NDArray[Any]:
    """(rows, *row), each value another."""
    return np.arange(rows * int(np.prod(row)), dtype=np.int64).reshape(rows, *row).astype(dtype)


def write_zarr(path: Path | str, array: NDArray[Any], name: str | None = None, **settings: Any) -> Path | str:
    """Store an array at a place, or under a name in a group there."""
    settings = {"chunks": (8, *array.shape[1:]), "dtype": array.dtype, **settings}
    store = zarr.open_group(path, mode="a").store if name is not None else path
    created = zarr.create_array(store, name=name, shape=array.shape, overwrite=True, **settings)
    created[...] = array
    return path


def write_group(path: Path, rows: int = 53, **settings: Any) -> dict[str, NDArray[Any]]:
    """A group of an image, a label, an embedding and a mask; returns what is in it."""
    arrays = {
        "image": numbers(rows),
        "label": np.arange(rows, dtype=np.int32) * 3,
        "inside/embedding": numbers(rows, (6,), "float64") + 0.5,
        "cls": np.arange(rows) % 7,
        "depth.cls": numbers(rows, (2,), "float16") / 8,
    }
    zarr.open_group(path, mode="w")
    for number, (name, array) in enumerate(arrays.items()):
        write_zarr(path, array, name, chunks=(8 + number, *array.shape[1:]), **settings)
    return arrays
