"""How a zarr array of a local folder is cut into files and chunks, and what undoes its compression.

    file = one chunk                     c/3/0/0   ▏compressed chunk▕
    file = one shard of several chunks   c/0/0/0   ▏chunk▕▏chunk▕▏chunk▕▏index: (offset, length) of each, crc32c▕

Read from the metadata as the specifications of zarr 3 (core, sharding_indexed) and zarr 2 define it. Layouts with
codecs that are not known here have none, and zarr reads them itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .zarr_codecs import CRC_BYTES, Decompress, decompressor

__all__ = ["ChunkKeys", "Layout"]

ENDIANS = {"little": "<", "big": ">"}


@dataclass(frozen=True)
class ChunkKeys:
    """The names of chunks' files below an array's folder."""

    prefix: str
    separator: str

    @classmethod
    def of(cls, metadata: dict[str, Any]) -> ChunkKeys | None:
        """What the metadata says, None for an encoding that is not known here."""
        if metadata.get("zarr_format") == 2:
            return cls._separated("", metadata.get("dimension_separator") or ".")
        encoding = metadata.get("chunk_key_encoding")
        if isinstance(encoding, str):
            encoding = {"name": encoding}
        if not isinstance(encoding, dict):
            return None
        name, settings = encoding.get("name"), encoding.get("configuration") or {}
        if name not in ("default", "v2") or not isinstance(settings, dict):
            return None
        if name == "default":
            return cls._separated("c", settings.get("separator", "/"))
        return cls._separated("", settings.get("separator", "."))

    @classmethod
    def _separated(cls, begin: str, separator: Any) -> ChunkKeys | None:
        """Keys that begin so; the separators are the two of the specification."""
        return cls(begin and begin + separator, separator) if separator in ("/", ".") else None

    def path(self, coordinates: Sequence[int]) -> str:
        """The path of a chunk's file below the array's folder."""
        return self.prefix + self.separator.join(map(str, coordinates))


@dataclass(frozen=True)
class Layout:
    """Files, chunks and codecs of an array.

    dtype           of the bytes that are stored
    chunk, file     the shape of what is compressed as one, and of what one file holds; equal where a file is one chunk
    decompressors   undo the compression, in this order
    index           where a shard's index lies; None where files are not shards
    index_checked   whether the index ends in a CRC-32C
    """

    keys: ChunkKeys
    dtype: np.dtype[Any]
    chunk: tuple[int, ...]
    file: tuple[int, ...]
    decompressors: tuple[Decompress, ...]
    index: Literal["start", "end"] | None
    index_checked: bool

    @classmethod
    def of(cls, metadata: dict[str, Any], dtype: np.dtype[Any]) -> Layout | None:
        """The layout that an array's (valid) metadata tells, None where zarr must read it."""
        keys = ChunkKeys.of(metadata)
        if keys is None or dtype.kind not in "biufc":
            return None
        if metadata.get("zarr_format") == 2:
            return _version_2(metadata, dtype, keys)
        file = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
        codecs = [_named(codec) for codec in metadata["codecs"]]
        if codecs[0][0] != "sharding_indexed":
            parsed = _codecs(codecs, dtype, math.prod(file))
            return None if parsed is None else cls(keys, parsed[0], file, file, parsed[1], None, False)
        settings = codecs[0][1]
        chunk = tuple(settings["chunk_shape"])
        parsed = _codecs([_named(codec) for codec in settings["codecs"]], dtype, math.prod(chunk))
        index_codecs = [_named(codec) for codec in settings.get("index_codecs", [])]
        little = ("bytes", {"endian": "little"})
        known = index_codecs in ([little], [little, ("crc32c", {})])
        if parsed is None or not known or len(codecs) > 1:
            return None
        where = settings.get("index_location", "end")
        return cls(keys, parsed[0], chunk, file, parsed[1], where, len(index_codecs) == 2)

    @property
    def chunk_bytes(self) -> int:
        """The bytes of a chunk, decoded."""
        return math.prod(self.chunk) * self.dtype.itemsize

    @property
    def chunks_per_file(self) -> tuple[int, ...]:
        """How many chunks a file holds along each axis."""
        return tuple(file // chunk for file, chunk in zip(self.file, self.chunk, strict=True))

    @property
    def index_bytes(self) -> int:
        """The bytes of a shard's index, its checksum among them."""
        return 16 * math.prod(self.chunks_per_file) + CRC_BYTES * self.index_checked


def _named(codec: Any) -> tuple[str, dict[str, Any]]:
    return (codec, {}) if isinstance(codec, str) else (codec["name"], dict(codec.get("configuration") or {}))


def _codecs(
    codecs: list[tuple[str, dict[str, Any]]], dtype: np.dtype[Any], values: int
) -> tuple[np.dtype[Any], tuple[Decompress, ...]] | None:
    """The stored dtype and what undoes the codecs behind `bytes`, for chunks of this many values."""
    if codecs[0][0] != "bytes":
        return None
    stored = dtype.newbyteorder(ENDIANS.get(codecs[0][1].get("endian", "little"), "<"))  # type: ignore[arg-type]
    size, undo = values * dtype.itemsize, list[Decompress]()
    for name, _ in codecs[1:]:
        step = decompressor(name, size)
        if step is None or len(undo) == 3:
            return None
        undo.insert(0, step)
        if name != "crc32c":
            size = -1
        elif size >= 0:
            size += CRC_BYTES
    return stored, tuple(undo)


def _version_2(metadata: dict[str, Any], dtype: np.dtype[Any], keys: ChunkKeys) -> Layout | None:
    compressor, chunk = metadata.get("compressor"), tuple(metadata["chunks"])
    if metadata.get("filters") or metadata.get("order", "C") != "C":
        return None
    stored, undo = np.dtype(metadata["dtype"]), list[Decompress]()
    if compressor is not None:
        step = decompressor(str(compressor.get("id")), math.prod(chunk) * stored.itemsize)
        if step is None:
            return None
        undo = [step]
    return Layout(keys, stored, chunk, chunk, tuple(undo), None, False)
