"""Remote shards, read as the order asks: whole, through a cache on the local disk, or by ranges.

    order                      with room in the cache for all that is read      without
    as stored, or by shard     whole shards, read ahead                         the same, a few at a time
    any example at any time    ranges until a shard has come, then the shard    refused: ranges alone must be asked for
    none yet (`source[3]`)     ranges                                           ranges

A shard is a blob either way, and its bytes are checked: whole shards by the manifest's SHA-256, the range of an example
by the index's CRC-32.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from ...errors import SourceError
from ..blob import Blob, LocalFile, MemoryBlob
from .cache_bound import Order, too_small
from .fetch_pool import FetchPool
from .leases import Lease
from .per_process import PerProcess
from .ranges_ahead import MOST_AHEAD_BYTES
from .reading import RemoteReading
from .remote_store import RemoteStore
from .shard_blob import CachedShard, ShardBlob
from .shard_cache import ShardCache
from .shard_fetcher import ShardFacts, ShardFetcher
from .small_files import SmallFiles
from .urls import redacted

__all__ = ["ShardStore"]


EARLY_SHARE = 0.02
"""The share of all bytes that may be read by ranges; after that, readers wait for whole shards."""


class _Live:
    """What one process has open and announced; a forked process begins with nothing."""

    def __init__(
        self, remote: RemoteStore, cache: ShardCache, shards: Mapping[str, ShardFacts], read_ahead_bytes: int
    ) -> None:
        self.lock = threading.Lock()
        self.order: Order | None = None
        self.is_whole = False
        self.pool: FetchPool[str, Lease] | None = None
        self.announced: set[str] = set()
        self.had: set[str] = set()
        self.blobs: weakref.WeakSet[ShardBlob] = weakref.WeakSet()
        digests = {name: digest for facts in shards.values() for name, digest in facts.digests.items()}
        self.small = SmallFiles(remote, digests)
        self.fetcher = ShardFetcher(remote, cache, shards)
        self.early_bytes, self.read_ahead_bytes = 0, read_ahead_bytes


class ShardStore:
    """The shards of one set, and the files beside them, by their URLs. See `Store`.

    `shards` says what is known of each before the first request. No thread, connection or lease exists before the
    first read, nor in a copy or a forked process.
    """

    def __init__(self, remote: RemoteStore, reading: RemoteReading, shards: Mapping[str, ShardFacts]) -> None:
        self.remote, self.reading, self.shards = remote, reading, dict(shards)
        self.cache = reading.cache()
        self.total_bytes = sum(facts.size for facts in self.shards.values())
        self.largest_bytes = max((facts.size for facts in self.shards.values()), default=0)
        self._processes = PerProcess(partial(_Live, remote, self.cache, self.shards, reading.read_ahead_bytes))

    @property
    def _live(self) -> _Live:
        return self._processes.get()

    def open(self, name: str) -> Blob:
        """The blob of a shard, without a request; of another file all of its bytes. Raises `SourceError`."""
        facts = self.shards.get(name)
        if facts is not None:
            blob = ShardBlob(self, name, facts.size)
            self._live.blobs.add(blob)
            return blob
        small = self._live.small
        if name in small:
            content = small.take(name)
            if content is None:
                raise SourceError(f"{redacted(name)}: in the manifest, but there is no such file. Restore it.")
            return MemoryBlob(content)
        return self.remote.open(name)

    def size_of(self, name: str) -> int | None:
        """Bytes of a file, None if missing. Raises `SourceError`."""
        if (facts := self.shards.get(name)) is not None:
            return facts.size
        small = self._live.small
        if name in small:
            return small.size_of(name)
        return self.remote.size_of(name)

    def identity_of(self, name: str) -> str | None:
        """See `RemoteStore.identity_of`."""
        return self.remote.identity_of(name)

    def begin_order(self, order: Order, share: float) -> None:
        """A new order begins, in which this process reads within a `share` (0 to 1) of all bytes at a time.

        Raises `SourceError` if the cache is too small for it.
        """
        live = self._live
        if not (order == live.order == "random"):  # any shard at any time, whoever reads: all stay announced
            if live.pool is not None:
                live.pool.expect(None)
            self.cache.due(None)
            live.announced.clear()
        live.fetcher.forget_failures()
        live.order, live.early_bytes = order, 0
        needed = min(self.total_bytes, int(self.total_bytes * share) + 2 * self.largest_bytes)
        fits, fetch = needed <= self.cache.max_bytes, self.reading.fetch
        if not fits and fetch != "ranges" and (order != "stored" or fetch == "whole"):
            raise too_small(self.cache, redacted(self.remote.root_url), order, needed)
        live.is_whole = fits and fetch != "ranges"
        live.read_ahead_bytes = self.cache.max_bytes if order == "random" else self.reading.read_ahead_bytes
        if live.pool is not None:
            live.pool.read_ahead_bytes = max(live.read_ahead_bytes, self.largest_bytes)

    @property
    def read_ahead_bytes(self) -> int:
        """How much may be fetched before it is needed, in the order that has begun."""
        return (
            self.reading.read_ahead_bytes
            if self.fetches_shards
            else min(self.reading.read_ahead_bytes, MOST_AHEAD_BYTES)
        )

    @property
    def fetches_shards(self) -> bool:
        """Whether whole shards are fetched in the order that has begun."""
        return self._live.is_whole

    def expect(self, names: Iterable[str]) -> None:
        """Say which shards are needed next, after those that were announced before."""
        live = self._live
        if not live.is_whole:
            return
        new = [name for name in dict.fromkeys(names) if name not in live.announced]
        if new:
            live.announced.update(new)
            self.cache.due(new)
            self._fetching().expect(new)

    def local_copy(self, name: str, *, wait: bool) -> LocalFile | None:
        """The local copy of a shard; None if shards are not fetched whole, or `wait` is False and it is not there.

        Raises `SourceError` where it cannot be had.
        """
        live = self._live
        if not live.is_whole:
            return None
        pool = self._fetching()
        if live.order == "random" and not wait and name not in live.had:
            lease = pool.take(name)
            if lease is None:
                return None
        else:
            lease = pool.get(name)
        live.had.add(name)
        self.cache.done(name)
        return CachedShard(lease)

    def open_far(self, name: str) -> Blob:
        """A shard where it lies; its bytes come by ranges."""
        return self.remote.open(name)

    def reads_early(self, num_bytes: int) -> bool:
        """Whether so many bytes may still be read by ranges although shards are fetched whole."""
        live = self._live
        if not live.is_whole:
            return True
        if live.order != "random":
            return False
        with live.lock:
            live.early_bytes += num_bytes
            return live.early_bytes <= EARLY_SHARE * self.total_bytes

    def _let_go(self) -> None:
        """Let go of all local copies; one that is still needed is opened again."""
        for blob in list(self._live.blobs):
            blob.let_go()

    def _fetching(self) -> FetchPool[str, Lease]:
        live = self._live
        with live.lock:
            if live.pool is None:
                live.pool = FetchPool(
                    live.fetcher.fetch,
                    lambda name: self.shards[name].size,
                    read_ahead_bytes=max(live.read_ahead_bytes, self.largest_bytes),
                    threads=self.reading.threads,
                    room=lambda: self.cache.max_bytes - self.cache.leased_bytes(),
                    make_room=self._let_go,
                )
            return live.pool

    @property
    def counts(self) -> dict[str, float]:
        """Requests, tries again, bytes fetched, shards found in the cache, seconds that threads waited for shards."""
        now, pool = self.remote.counters.now(), self._live.pool
        return {
            "requests": now.requests,
            "retries": now.retries,
            "fetched_bytes": now.bytes,
            "cache_hits": self.cache.counts.hits,
            "stall_seconds": 0.0 if pool is None else pool.stall_seconds,
        }

    def close(self) -> None:
        """Let go of threads, connections and leases; they are made again when something is read."""
        live = self._live
        if live.pool is not None:
            live.pool.close()
            self._let_go()
        live.pool = None
        live.announced.clear()
        self.remote.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"remote": self.remote, "reading": self.reading, "shards": self.shards}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
