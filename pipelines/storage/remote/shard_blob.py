"""A shard that lies elsewhere, as a blob: its local copy as soon as there is one, ranges of it otherwise."""

from __future__ import annotations

import os
import zlib
from typing import Protocol

from ...errors import SourceError
from ..blob import Blob, LocalFile
from .leases import Lease
from .remote_blob import RemoteBlob
from .urls import redacted

__all__ = ["CachedShard", "ShardAccess", "ShardBlob"]


class ShardAccess(Protocol):
    """What a blob asks of its store."""

    def local_copy(self, name: str, *, wait: bool) -> LocalFile | None:
        """See `ShardStore`."""

    def reads_early(self, num_bytes: int) -> bool:
        """See `ShardStore`."""

    def open_far(self, name: str) -> Blob:
        """The shard where it lies."""


class CachedShard(LocalFile):
    """The local copy of a shard, which is not evicted while it is open."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(lease.path)
        self._lease = lease


class ShardBlob:
    """A shard: its local copy as soon as there is one, ranges of it otherwise."""

    def __init__(self, store: ShardAccess, name: str, size: int) -> None:
        self.name, self.size = name, size
        self._store, self._pid = store, os.getpid()
        self._local: LocalFile | None = None
        self._far: Blob | None = None

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`, fewer at the end. Raises `SourceError`."""
        local = self._copy(length)
        return self._ranges().read(offset, length) if local is None else local.read(offset, length)

    def read_checked(self, offset: int, length: int, crc32: int | None) -> bytes:
        """The bytes of an example, checked by its CRC-32 or the SHA-256 of its shard. Raises `SourceError`."""
        local = self._copy(length)
        if local is not None:  # the whole shard was compared with its SHA-256
            return local.read(offset, length)
        return self.read_range(offset, length, crc32)

    def read_range(self, offset: int, length: int, crc32: int | None) -> bytes:
        """The bytes of examples, from the remote shard; with `crc32` they are checked. Raises `SourceError`."""
        far = self._ranges()
        if isinstance(far, RemoteBlob):
            return far.read(offset, length, crc32=crc32)
        content = far.read(offset, length)
        if crc32 is not None and zlib.crc32(content) != crc32:
            raise SourceError(f"{redacted(self.name)}: the bytes from {offset:,} on fail their checksum.")
        return content

    def let_go(self) -> None:
        """Drop the local copy; whoever reads it now keeps it until then."""
        self._local = None

    def _copy(self, num_bytes: int) -> LocalFile | None:
        if self._pid != os.getpid():  # the lease is that of the process that this one was forked from
            self._local, self._far, self._pid = None, None, os.getpid()
        local = self._local
        if local is None:
            local = self._store.local_copy(self.name, wait=False)
            if local is None and not self._store.reads_early(num_bytes):
                local = self._store.local_copy(self.name, wait=True)
            self._local = local
        return local

    def _ranges(self) -> Blob:
        if self._far is None:
            self._far = self._store.open_far(self.name)
        return self._far
