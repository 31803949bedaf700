"""Neighbouring examples of a remote shard, read together where they lie side by side."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from ..storage.index import Index, IndexFlag
from ..storage.remote.ranges_ahead import MOST_REQUEST_BYTES
from ..storage.remote.shard_blob import ShardBlob

__all__ = ["crc32_of", "read_rows"]


def read_rows(blob: ShardBlob, rows: Index) -> list[bytes | None]:
    """The bytes of examples, whose rows of the index these are; None for one that fails its checksum.

    Nothing between them is read. Raises `SourceError`.
    """
    found: list[bytes | None] = []
    for begin, stop in _requests(rows):
        part = rows[begin:stop]
        first = int(part[0]["offset"])
        length = int(part[-1]["offset"]) + int(part[-1]["length"]) - first
        if len(part) == 1:
            found.append(blob.read_range(first, length, crc32_of(part[0])))
            continue
        content = memoryview(blob.read_range(first, length, None))
        for row in part:
            start = int(row["offset"]) - first
            one, expected = bytes(content[start : start + int(row["length"])]), crc32_of(row)
            found.append(one if expected is None or zlib.crc32(one) == expected else None)
    return found


def crc32_of(row: Index) -> int | None:
    """The checksum of an example by its row of the index, None if it has none."""
    return int(row["crc32"]) if row["flags"] & IndexFlag.HAS_CRC32 else None


def _requests(rows: Index) -> Iterator[tuple[int, int]]:
    """Which rows are read together: they lie side by side, and are not too many bytes."""
    offsets, lengths = rows["offset"].tolist(), rows["length"].tolist()
    begin = 0
    for row in range(1, len(rows) + 1):
        is_last = row == len(rows)
        if (
            is_last
            or offsets[row] != offsets[row - 1] + lengths[row - 1]
            or (offsets[row] + lengths[row] - offsets[begin] > MOST_REQUEST_BYTES)
        ):
            yield begin, row
            begin = row
