"""A zarr v3 group of arrays with one row per example, written shard by shard by one writer.

To change a part of a shard, zarr reads and rewrites all of it, and two writers of one shard overwrite each other.
So every write here is a whole shard of every array.
"""

from __future__ import annotations

import shutil
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dirvae.encoding.batch_rows import MISSING_LABEL, RowArray
from dirvae.training.errors import ConfigError
from pipelines.storage.durable_files import fsync_folder, fsync_path

if TYPE_CHECKING:
    import zarr

__all__ = ["Column", "LatentGroup", "columns_of", "require_zarr"]

FORMAT = "dirvae-latents"
FORMAT_VERSION = 1
ROWS_AXIS = "example"
MOST_CHUNK_ROWS = 256


@dataclass(frozen=True)
class Column:
    """What one array holds of each example: shape, dtype ("float32", "string"), names of the axes."""

    shape: tuple[int, ...]
    dtype: str
    axes: tuple[str, ...]


def columns_of(rows: Mapping[str, RowArray]) -> dict[str, Column]:
    """The columns that a batch has."""
    return {
        name: Column(one.values.shape[1:], _dtype_name(one.values.dtype), one.axes) for name, one in rows.items()
    }


def _dtype_name(dtype: np.dtype[Any]) -> str:
    return "string" if isinstance(dtype, np.dtypes.StringDType) else dtype.name


def require_zarr() -> Any:
    """The package zarr. Raises `ConfigError` where it is not installed."""
    try:
        import zarr
    except ImportError as error:
        raise ConfigError("zarr is not installed, and encoding needs it: pip install 'dirvae[arrays]'.") from error
    return zarr


class LatentGroup:
    """The group at `path`, of `num` rows in shards of `shard_rows`."""

    def __init__(self, path: Path, columns: Mapping[str, Column], *, num: int, shard_rows: int) -> None:
        self.path, self.columns, self.num, self.shard_rows = path, dict(columns), num, shard_rows
        self._arrays: dict[str, zarr.Array[Any]] = {}

    @property
    def num_shards(self) -> int:
        """How many shards each array has."""
        return -(-self.num // self.shard_rows)

    def rows_of(self, shard: int) -> range:
        """The rows of a shard."""
        return range(shard * self.shard_rows, min(self.num, (shard + 1) * self.shard_rows))

    def create(self, attributes: Mapping[str, Any]) -> None:
        """Make an empty group; an existing one is replaced. `attributes`: JSON values that describe it."""
        group = require_zarr().create_group(
            str(self.path),
            overwrite=True,
            zarr_format=3,
            attributes={"format": FORMAT, "format_version": FORMAT_VERSION, **attributes},
        )
        chunk = min(MOST_CHUNK_ROWS, self.shard_rows)
        while self.shard_rows % chunk:  # a shard holds whole chunks
            chunk -= 1
        for name, column in self.columns.items():
            group.create_array(
                name,
                shape=(self.num, *column.shape),
                chunks=(chunk, *column.shape),
                shards=(self.shard_rows, *column.shape),
                dtype=column.dtype,
                dimension_names=(ROWS_AXIS, *column.axes),
                fill_value=_fill_value(column.dtype),
                config={"write_empty_chunks": True},
            )

    def holds(self, shard: int, crc32: Mapping[str, str]) -> bool:
        """Whether all files of a shard exist; `crc32` is the result of `write`."""
        return all(path.is_file() for name, path in self._files(shard).items() if crc32.get(name))

    def has_same_columns(self) -> bool:
        """Whether the group on the disk has these arrays with these shapes."""
        try:
            return all(
                array.shape == (self.num, *self.columns[name].shape)
                and array.shards == (self.shard_rows, *self.columns[name].shape)
                for name, array in self._opened().items()
            )
        except (KeyError, FileNotFoundError, ValueError, TypeError):
            return False

    def write(self, shard: int, rows: Mapping[str, NDArray[Any]]) -> dict[str, str]:
        """Write all rows of a shard, and wait until they are on the disk. Raises `OSError`.

        Returns the CRC-32 of the values of each array in hex; empty if zarr wrote no file because
        all values are the fill value.
        """
        span = self.rows_of(shard)
        for name, array in self._opened().items():
            array[span.start : span.stop] = rows[name]
        crc32 = dict.fromkeys(rows, "")
        for name, path in self._files(shard).items():
            if path.is_file():
                fsync_path(path)
                fsync_folder(path.parent)
                crc32[name] = f"{_crc32(rows[name]):08x}"
        return crc32

    def remove_partial_files(self) -> None:
        """Remove the temporary files that zarr left when the process was killed."""
        for path in self.path.rglob("*.partial"):
            path.unlink()

    def finish(self) -> None:
        """Mark the group as complete, and gather the metadata of all arrays in one file, so that it opens quickly."""
        package = require_zarr()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # zarr warns that other implementations may ignore the gathered metadata
            package.open_group(str(self.path), mode="r+").attrs["complete"] = True
            package.consolidate_metadata(str(self.path))
        fsync_path(self.path / "zarr.json")

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path)

    def describe(self) -> dict[str, Any]:
        """The layout as JSON values."""
        columns = {name: _jsonable(asdict(column)) for name, column in self.columns.items()}
        return {"examples": self.num, "shard_examples": self.shard_rows, "arrays": columns}

    def _opened(self) -> dict[str, zarr.Array[Any]]:
        if not self._arrays:
            group = require_zarr().open_group(str(self.path), mode="r+")
            self._arrays = {name: group[name] for name in self.columns}
        return self._arrays

    def _files(self, shard: int) -> dict[str, Path]:
        return {
            name: self.path.joinpath(name, "c", str(shard), *["0"] * len(column.shape))
            for name, column in self.columns.items()
        }


def _fill_value(dtype: str) -> Any:
    """The value of rows that are not written yet."""
    if dtype == "string":
        return ""
    kind = np.dtype(dtype).kind
    return np.nan if kind == "f" else MISSING_LABEL if kind == "i" else 0


def _crc32(values: NDArray[Any]) -> int:
    if isinstance(values.dtype, np.dtypes.StringDType):
        return zlib.crc32("\0".join(values.tolist()).encode("utf-8", "surrogatepass"))
    return zlib.crc32(np.ascontiguousarray(values).data)


def _jsonable(column: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in column.items()}
