"""`NAME.tar.index.npy`: where each example of a tar lies, and how long it is.

One fixed record per example, in the order of the tar, in NumPy's own file format, so that it can be memory-mapped
and read by anything. The tar is the truth: the index can be rebuilt from it by one scan (`tar_index.py`).

    tar     | header a.json | payload | header a.jpg | payload ........ | header b.json | ...
            ^ offset                                  ^ data_offset
            |<------------------- length ---------------------------->|
                                                      |<-data_length->|
"""

from __future__ import annotations

import io
import os
from enum import IntFlag
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import ShardError
from .npy import read_npy_header

__all__ = [
    "INDEX_DTYPE",
    "INDEX_VERSION",
    "Index",
    "IndexFlag",
    "Record",
    "index_path",
    "load_index",
    "parse_index",
    "save_index",
    "spans_of",
]

INDEX_VERSION = 1

INDEX_DTYPE = np.dtype(
    [
        ("offset", "<i8"),  # bytes from the start of the tar to the example's first header
        ("length", "<i8"),  # bytes of the example's whole span: headers, payloads and their padding
        ("data_offset", "<i8"),  # bytes from the start of the tar to the payload of the media member
        ("data_length", "<i8"),  # bytes of that payload
        ("frames", "<i8"),  # 1 for an image, sample frames of audio, decodable frames of video; 0 unknown
        ("table_offset", "<i8"),  # video: first entry of the example in NAME.tar.frames.npy; else -1
        ("rate_numerator", "<i4"),  # frames per second, as a fraction: of audio the sample rate; 0 where unknown
        ("rate_denominator", "<i4"),  # of that fraction; 0 where there is no rate
        ("width", "<i4"),  # pixels of the upright picture; 0 where unknown or meaningless
        ("height", "<i4"),  # pixels of the upright picture; 0 where unknown or meaningless
        ("channels", "<i4"),  # 1 gray, 3 RGB, 4 with alpha or CMYK; audio: channels; 0 unknown
        ("flags", "<u4"),  # IndexFlag
        ("crc32", "<u4"),  # zlib.crc32 of the whole span, if IndexFlag.HAS_CRC32
        ("version", "<u4"),  # INDEX_VERSION
    ]
)

Index: TypeAlias = NDArray[np.void]
"""(examples,) rows of INDEX_DTYPE."""


class Record(NamedTuple):
    """What is known of one example: a row of an index as plain numbers, its fields those of INDEX_DTYPE, in order."""

    offset: int = 0
    length: int = 0
    data_offset: int = 0
    data_length: int = 0
    frames: int = 1
    table_offset: int = -1
    rate_numerator: int = 0
    rate_denominator: int = 0
    width: int = 0
    height: int = 0
    channels: int = 0
    flags: int = 0
    crc32: int = 0
    version: int = INDEX_VERSION

    @property
    def rate(self) -> Fraction | None:
        """Frames per second; None where it is not known."""
        is_known = self.rate_numerator > 0 and self.rate_denominator > 0
        return _fraction(self.rate_numerator, self.rate_denominator) if is_known else None


@lru_cache(maxsize=64)
def _fraction(numerator: int, denominator: int) -> Fraction:
    return Fraction(numerator, denominator)


class IndexFlag(IntFlag):
    """What else is known of an example."""

    HAS_CRC32 = 1
    HAS_FIELDS = 2  # the span holds members besides the media
    NO_MEDIA = 4  # no member of the example is media: data_length is 0


def index_path(tar: str | os.PathLike[str]) -> Path:
    """Where the index of a tar lies: beside it, `NAME.tar.index.npy`."""
    tar = Path(tar)
    return tar.with_name(tar.name + ".index.npy")


def save_index(path: str | os.PathLike[str], index: Index) -> None:
    """Write an index and fsync it; the caller renames it into place. The same records give the same bytes."""
    if index.dtype != INDEX_DTYPE or index.ndim != 1:
        raise TypeError(f"an index is a one-dimensional array of INDEX_DTYPE, not {index.dtype}{index.shape}")
    with open(path, "wb") as file:
        np.lib.format.write_array(file, index, version=(1, 0), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def load_index(path: str | os.PathLike[str], *, tar_bytes: int | None = None) -> Index:
    """Memory-map an index: (examples,) records of INDEX_DTYPE, read-only.

    With `tar_bytes`, the size of the tar it describes, every span must lie inside the tar. Raises `ShardError`
    for a file that is not an index of a version this library reads, is truncated, or does not fit its tar.
    """
    where = os.fspath(path)
    try:
        with open(path, "rb") as file:
            shape, dtype = _read_header(file, where)
            index = np.memmap(file, dtype, "r", file.tell(), shape) if shape[0] else np.empty(0, dtype)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise ShardError(f"{path}: not a readable index ({error}). Delete it to have it rebuilt.") from error
    return _checked(index, where, tar_bytes)


def parse_index(content: bytes, *, where: str, tar_bytes: int | None = None) -> Index:
    """An index from its bytes, as `load_index` reads it from a file; `where` names it in errors."""
    file = io.BytesIO(content)
    try:
        shape, dtype = _read_header(file, where)
        index = np.frombuffer(content, dtype, shape[0], file.tell()) if shape[0] else np.empty(0, dtype)
    except ValueError as error:
        raise ShardError(f"{where}: not a readable index ({error}). Delete it to have it rebuilt.") from error
    return _checked(index, where, tar_bytes)


def _read_header(file: BinaryIO, where: str) -> tuple[tuple[int, ...], np.dtype[np.void]]:
    shape, _, dtype = read_npy_header(file)
    if dtype != INDEX_DTYPE or len(shape) != 1:
        raise ShardError(f"{where}: not an index of version {INDEX_VERSION}. Delete it to have it rebuilt.")
    return shape, INDEX_DTYPE


def _checked(index: Index, where: str, tar_bytes: int | None) -> Index:
    if len(index) and (index["version"] != INDEX_VERSION).any():
        raise ShardError(f"{where}: index version {index['version'].max()}; this library reads {INDEX_VERSION}.")
    if len(index) and not _spans_are_sound(index, tar_bytes):
        of = "" if tar_bytes is None else f" of {tar_bytes:,} bytes"
        raise ShardError(f"{where}: does not fit its tar{of}, which is cut off or was replaced. Restore the tar.")
    return index


def spans_of(index: Index) -> NDArray[np.int64]:
    """Offset, length, data_offset and data_length of each example: (examples, 4) int64, a view."""
    words: NDArray[np.int64] = np.asarray(index).view("<i8").reshape(len(index), INDEX_DTYPE.itemsize // 8)
    return words[:, :4]


def _spans_are_sound(index: Index, tar_bytes: int | None) -> bool:
    start, stop = index["offset"], index["offset"] + index["length"]
    media_start, media_stop = index["data_offset"], index["data_offset"] + index["data_length"]
    inside = (media_start >= start) & (media_stop <= stop) & (index["data_length"] >= 0)
    ordered = (start[1:] >= stop[:-1]).all() and start[0] >= 0 and (index["length"] > 0).all()
    return bool(inside.all() and ordered and (tar_bytes is None or stop[-1] <= tar_bytes))
