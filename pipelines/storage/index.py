"""`NAME.tar.index.npy`: where each example of a tar lies, and how long it is.

One fixed record per example, in the order of the tar, in NumPy's own file format, so that it can be memory-mapped
and read by anything. The tar is the truth: the index can be rebuilt from it by one scan (`tar_index.py`).

    tar     | header a.json | payload | header a.jpg | payload ........ | header b.json | ...
            ^ offset                                  ^ data_offset
            |<------------------- length ---------------------------->|
                                                      |<-data_length->|
"""

from __future__ import annotations

import hashlib
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
from ..order.clip_arithmetic import UNREADABLE
from .npy import MAX_HEADER_BYTES, read_npy_header
from .plain_files import create_plain, map_plain
from .remote.urls import with_suffix

__all__ = [
    "INDEX_DTYPE",
    "INDEX_VERSION",
    "MAX_FRAMES",
    "Index",
    "IndexFlag",
    "Record",
    "index_bytes",
    "index_digest",
    "index_name",
    "index_path",
    "load_index",
    "parse_index",
    "save_index",
    "spans_of",
]

INDEX_VERSION = 1
MAX_TAR_BYTES = 1 << 61
MAX_FRAMES = 1 << 48
"""Of a recording: two hundred years at 48 kHz."""

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
        """Frames per second; None if it is not known."""
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


def index_name(tar: str) -> str:
    """The name of the index of a tar, a path or a URL: beside it, `NAME.tar.index.npy`."""
    return with_suffix(tar, ".index.npy")


def index_path(tar: str | os.PathLike[str]) -> Path:
    """Where the index of a tar of this machine lies: beside it, `NAME.tar.index.npy`."""
    return Path(index_name(os.fspath(Path(tar))))


def index_bytes(index: Index) -> bytes:
    """The file that an index is. The same records give the same bytes."""
    if index.dtype != INDEX_DTYPE or index.ndim != 1:
        raise TypeError(f"an index is a one-dimensional array of INDEX_DTYPE, not {index.dtype}{index.shape}")
    file = io.BytesIO()
    np.lib.format.write_array(file, index, version=(1, 0), allow_pickle=False)
    return file.getvalue()


def save_index(path: str | os.PathLike[str], index: Index) -> str:
    """Write an index and fsync it; the caller renames it into place. Returns its digest."""
    content = index_bytes(index)
    with create_plain(Path(path)) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return index_digest(content)


def load_index(path: str | os.PathLike[str], *, tar_bytes: int | None = None, digest: str = "") -> Index:
    """Memory-map an index: (examples,) records of INDEX_DTYPE, read-only. The rest is as `parse_index` has it.

    Raises `FileNotFoundError` if there is none.
    """
    try:
        content = map_plain(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error.strerror}). Delete it to have it rebuilt.") from error
    return parse_index(content, where=os.fspath(path), tar_bytes=tar_bytes, digest=digest)


def parse_index(
    content: bytes | memoryview, *, where: str, tar_bytes: int | None = None, digest: str = ""
) -> Index:
    """An index from its bytes: (examples,) records of INDEX_DTYPE, read-only; `where` names it in errors.

    With `tar_bytes`, the size of the tar it describes, every span must lie inside the tar; with `digest`, the bytes
    must have it. Raises `ShardError` for what is not an index of a version this library reads, is truncated, holds
    numbers that cannot be, or does not fit its tar.
    """
    if digest and index_digest(content) != digest:
        raise ShardError(
            f"{where}: is not the index that the manifest says: it is damaged or was replaced. Restore it, or make the "
            "shards again with --overwrite."
        )
    head = io.BytesIO(content[:MAX_HEADER_BYTES])
    try:
        shape, dtype = _read_header(head, where)
        if shape[0] > (len(content) - head.tell()) // dtype.itemsize:
            raise ValueError("it is cut off")
        index = np.frombuffer(content, dtype, shape[0], head.tell()) if shape[0] else np.empty(0, dtype)
    except ValueError as error:
        raise ShardError(f"{where}: not a readable index ({error}). Delete it to have it rebuilt.") from error
    return _checked(index, where, tar_bytes)


def index_digest(content: bytes | memoryview) -> str:
    """Of an index's bytes, as a manifest has it: the first 32 hexadecimal digits of their SHA-256."""
    return hashlib.sha256(content).hexdigest()[:32]


def _read_header(file: BinaryIO, where: str) -> tuple[tuple[int, ...], np.dtype[np.void]]:
    shape, _, dtype = read_npy_header(file)
    if dtype != INDEX_DTYPE or len(shape) != 1:
        raise ShardError(f"{where}: not an index of version {INDEX_VERSION}. Delete it to have it rebuilt.")
    return shape, INDEX_DTYPE


def _checked(index: Index, where: str, tar_bytes: int | None) -> Index:
    if not len(index):
        return index
    if (index["version"] != INDEX_VERSION).any():
        raise ShardError(f"{where}: index version {index['version'].max()}; this library reads {INDEX_VERSION}.")
    if not _spans_are_sound(index, tar_bytes):
        of = "" if tar_bytes is None else f" of {tar_bytes:,} bytes"
        raise ShardError(f"{where}: does not fit its tar{of}, which is cut off or was replaced. Restore the tar.")
    if not _facts_are_sound(index):
        raise ShardError(f"{where}: holds numbers that cannot be. Restore it, or delete it to have it rebuilt.")
    return index


def spans_of(index: Index) -> NDArray[np.int64]:
    """Offset, length, data_offset and data_length of each example: (examples, 4) int64, a view."""
    words: NDArray[np.int64] = np.asarray(index).view("<i8").reshape(len(index), INDEX_DTYPE.itemsize // 8)
    return words[:, :4]


def _spans_are_sound(index: Index, tar_bytes: int | None) -> bool:
    """Whether each example lies inside the tar, after the one before it, and its media inside it."""
    end = MAX_TAR_BYTES if tar_bytes is None else min(tar_bytes, MAX_TAR_BYTES)
    spans = spans_of(index)
    if spans.min() < 0 or spans.max() > end:  # from here on no sum can overflow
        return False
    start, stop = spans[:, 0], spans[:, 0] + spans[:, 1]
    media_start, media_stop = spans[:, 2], spans[:, 2] + spans[:, 3]
    inside = (media_start >= start) & (media_stop <= stop)
    return bool(inside.all() and (start[1:] >= stop[:-1]).all() and (stop > start).all() and stop[-1] <= end)


def _facts_are_sound(index: Index) -> bool:
    """Whether what is said of the media can be: no fewer than no frames, pixels or channels, and no rate over 0."""
    has_rate = index["rate_numerator"] > 0
    return bool(
        (index["frames"] >= UNREADABLE).all()
        and (index["frames"] <= MAX_FRAMES).all()
        and (index["table_offset"] >= -1).all()
        and (index["rate_numerator"] >= 0).all()
        and ((index["rate_denominator"] > 0) | ~has_rate).all()
        and (index["rate_denominator"] >= 0).all()
        and (index["width"] >= 0).all()
        and (index["height"] >= 0).all()
        and (index["channels"] >= 0).all()
    )
