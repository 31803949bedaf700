"""An open tar of a set, and the reading of one example from it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ShardError
from ..storage.blob import Blob
from ..storage.frame_table import FrameRows
from ..storage.index import Index
from ..storage.keys import header_key, split_member_name
from ..storage.remote.shard_blob import ShardBlob
from ..storage.tar import BLOCK, iter_members, padded
from .row_ranges import crc32_of
from .source import Example

__all__ = ["OpenShard"]

SMALL_BYTES = 1 << 16
"""Media of at most this many bytes are read together with the members before them."""


@dataclass(frozen=True, slots=True)
class OpenShard:
    """An open tar and its index; `name` is its name without secrets, `blob` may be an unpacked copy.

    `spans` are the spans of the index as an array whose rows are quick to read. `frames` has the frame tables of its
    videos, None without videos.
    """

    name: str
    blob: Blob
    index: Index
    spans: NDArray[np.int64]
    frames: FrameRows | None = None

    def read(self, index: int, row: int, *, ready: bytes | None, verify: bool) -> Example:
        """The example of a row: `index` is its number in the source; `ready` its bytes if they were fetched ahead.

        Local data takes one read if copying the media out of it is cheaper than a second read, else two. `verify`
        compares the example with its checksum. Raises `ShardError`, and `SourceError` for remote data.
        """
        offset, length, data_offset, data_length = self.spans[row].tolist()
        blob, path = self.blob, self.name
        num_head = data_offset - offset
        if isinstance(blob, ShardBlob):
            head = blob.read_checked(offset, length, crc32_of(self.index[row])) if ready is None else ready
            media = head[num_head : num_head + data_length]
        elif data_length <= SMALL_BYTES:
            head = blob.read(offset, num_head + data_length)  # and the media behind it
            media = head[num_head:]
        else:
            head, media = blob.read(offset, num_head), blob.read(data_offset, data_length)
        if len(media) < data_length:
            raise ShardError(f"{path}: cut off at byte {data_offset + len(media):,}. Copy or make it again.")
        if verify:
            self.check_crc32(row, head[:num_head] + media)
        if num_head == BLOCK <= len(head) and num_head + padded(data_length) >= length:
            sole_key = header_key(head)
            if sole_key is None:
                raise self.misfit(offset)
            return Example(index, sole_key, media, path, data_offset)

        def read(start: int, count: int) -> bytes:
            inside = start + count <= len(head)
            return head[start : start + count] if inside else blob.read(offset + start, count)

        key, fields, has_media = "", {}, False
        for member in iter_members(read, 0, length, where=path, verify=False):
            parts = split_member_name(member.name) if member.is_file else None
            if parts is None:
                continue
            key, suffix = parts
            if offset + member.data_start != data_offset:
                fields[suffix.lower()] = read(member.data_start, member.data_length)
            elif member.data_length == data_length:
                has_media = True
        if not has_media:
            raise self.misfit(offset)
        return Example(index, key, media, path, data_offset, fields)

    def check_crc32(self, row: int, begin: bytes = b"") -> None:
        """Compare an example, which starts with `begin`, with its checksum if it has one. Raises `ShardError`."""
        expected = crc32_of(self.index[row])
        if expected is None:
            return
        offset, length = self.spans[row].tolist()[:2]
        rest = self.blob.read(offset + len(begin), length - len(begin))
        if zlib.crc32(rest, zlib.crc32(begin)) != expected:
            raise ShardError(
                f"{self.name}: example {row} at byte {offset:,} fails its checksum. Copy or make it again."
            )

    def misfit(self, offset: int) -> ShardError:
        """The error for an index that does not match the tar at a byte."""
        return ShardError(
            f"{self.name}: its index does not fit it at byte {offset:,}. Delete the index to have it rebuilt."
        )
