"""Indexes and frame tables, the small files beside shards: each is fetched once and kept in the cache of this user."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from ..cache import cache_name, read_entry, write_entry
from .remote_store import RemoteStore

__all__ = ["SmallFiles"]

NUM_LOCKS = 16


class SmallFiles:
    """Files of a store by name, with the digests that a manifest gives them, "" if none. Safe to use from many threads.

    A file that `size_of` fetched stays in memory until it is taken.
    """

    def __init__(self, remote: RemoteStore, digests: Mapping[str, str]) -> None:
        self._remote, self._digests = remote, digests
        self._kept: dict[str, bytes | None] = {}
        self._locks = [threading.Lock() for _ in range(NUM_LOCKS)]

    def __contains__(self, name: str) -> bool:
        return name in self._digests

    def size_of(self, name: str) -> int | None:
        """Bytes of a file, None if missing. Raises `SourceError`."""
        with self._lock_of(name):
            if name not in self._kept:
                self._kept[name] = self._read(name)
            content = self._kept[name]
        return None if content is None else len(content)

    def take(self, name: str) -> bytes | None:
        """All of a file, None if missing. Raises `SourceError`."""
        with self._lock_of(name):
            return self._kept.pop(name) if name in self._kept else self._read(name)

    def _lock_of(self, name: str) -> threading.Lock:
        """The lock that keeps two threads from fetching the same file: the second finds it in the cache."""
        return self._locks[hash(name) % NUM_LOCKS]

    def _read(self, name: str) -> bytes | None:
        digest = self._digests[name]
        entry = f"{cache_name(['remote', digest])}.npy" if digest else ""
        kept = read_entry(entry) if entry else None
        if kept is not None:
            return bytes(kept)
        content = self._remote.find_whole(name)
        if entry and content is not None:
            write_entry(entry, content)
        return content
