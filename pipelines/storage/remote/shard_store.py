"""Shards that lie elsewhere, read as the order asks: whole, through a cache on the local disk, or by ranges.

    order                      with room in the cache for all that is read      without
    as stored, or by shard     whole shards, read ahead                         the same, a few at a time
    any example at any time    ranges until a shard has come, then the shard    refused: ranges alone must be asked for
    none yet (`source[3]`)     ranges                                           ranges

A shard is a blob either way, and its bytes are those of its checksum: of the manifest's SHA-256 for whole shards, of
the index's CRC-32 for the range of an example.
"""

from __future__ import annotations

import os
import shutil
import threading
import weakref
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ...errors import SourceError
from ...order.checked_numbers import whole_number
from ..blob import Blob, LocalFile, MemoryBlob
from ..cache import cache_folder, cache_name, read_entry, write_entry
from .cache_errors import CacheError, ChecksumError
from .fetch_pool import FetchPool, FetchRequest
from .leases import Lease
from .remote_blob import RemoteBlob
from .remote_store import RemoteOptions, RemoteStore
from .shard_cache import ShardCache
from .shard_writer import ShardWriter
from .urls import redacted

__all__ = ["Fetch", "RemoteReading", "ShardFacts", "ShardStore"]

Fetch = Literal["auto", "whole", "ranges"]
Order = Literal["stored", "by_shard", "random"]

MOST_CACHE_BYTES = 256 << 30
EARLY_SHARE = 0.02
"""Of all bytes, what may be read by ranges before whole shards are waited for."""
CHECKSUM_TRIES = 3


@dataclass(frozen=True)
class RemoteReading:
    """How shards that lie elsewhere are read.

    fetch        "whole": shards through the cache; "ranges": only the bytes of examples, nothing is kept; "auto": as
                 the order asks
    cache_bytes  bound of the cache on the local disk, below `DIRVAE_CACHE`; None: `DIRVAE_CACHE_BYTES`, or half of what
                 is free there
    read_ahead_bytes   of whole shards, at most, before they are needed
    threads      that fetch
    options      of the client: credentials are the environment's own, see `RemoteOptions`
    """

    fetch: Fetch = "auto"
    cache_bytes: int | None = None
    read_ahead_bytes: int = 1 << 30
    threads: int = 4
    options: RemoteOptions = field(default_factory=RemoteOptions)

    def __post_init__(self) -> None:
        if self.fetch not in get_args(Fetch):
            raise ValueError(f"fetch is {self.fetch!r}; it must be one of {', '.join(map(repr, get_args(Fetch)))}.")
        for name, least in (("read_ahead_bytes", 0), ("threads", 1)):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least=least))
        if self.cache_bytes is not None:
            object.__setattr__(self, "cache_bytes", whole_number("cache_bytes", self.cache_bytes, least=1))

    def cache(self) -> ShardCache:
        """The cache of this user on this machine. Raises `ValueError` for a `DIRVAE_CACHE_BYTES` that is no number."""
        folder = cache_folder() / "shards"
        return ShardCache(folder, self.cache_bytes or _bytes_of_environment() or _half_of_free(folder))


@dataclass(frozen=True)
class ShardFacts:
    """What a manifest says of a shard: its bytes and SHA-256, and the digests of its index and frame table."""

    size: int
    sha256: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)


class ShardStore:
    """The shards of one set, and the files beside them, by their URLs. See `Store`.

    `shards` says what is known of each before anything is asked. Nothing is live before the first read, nor in a
    copy or a forked process.
    """

    is_remote = True

    def __init__(self, remote: RemoteStore, reading: RemoteReading, shards: Mapping[str, ShardFacts]) -> None:
        self.remote, self.reading, self.shards = remote, reading, dict(shards)
        self.cache = reading.cache()
        self.total_bytes = sum(facts.size for facts in self.shards.values())
        self.largest_bytes = max((facts.size for facts in self.shards.values()), default=0)
        self._begin()

    def _begin(self) -> None:
        self._order: Order | None = None
        self._whole = False
        self._pool: FetchPool[str, Lease] | None = None
        self._announced: set[str] = set()
        self._had: set[str] = set()
        self._blobs: weakref.WeakSet[ShardBlob] = weakref.WeakSet()
        self._small: dict[str, bytes | None] = {}
        self._loading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._early_bytes = 0
        self._pid = os.getpid()

    def open(self, name: str) -> Blob:
        """The blob of a shard, without a request; of another file all of its bytes. Raises `SourceError`."""
        facts = self.shards.get(name)
        if facts is not None:
            blob = ShardBlob(self, name, facts)
            self._process()._blobs.add(blob)
            return blob
        if name in self._digests:
            content = self._small_file(name)
            with self._lock:
                self._small.pop(name, None)
            if content is None:
                raise SourceError(f"{redacted(name)}: in the manifest, but there is no such file. Restore it.")
            return MemoryBlob(content)
        return self.remote.open(name)

    def size_of(self, name: str) -> int | None:
        """Bytes of a file, None if missing. Raises `SourceError`."""
        if (facts := self.shards.get(name)) is not None:
            return facts.size
        if name in self._digests:
            content = self._small_file(name)
            return None if content is None else len(content)
        return self.remote.size_of(name)

    def identity_of(self, name: str) -> str | None:
        """See `RemoteStore.identity_of`."""
        return self.remote.identity_of(name)

    def begin_order(self, order: Order, share: float) -> None:
        """A new order begins, in which this process reads within a `share` of all bytes at a time.

        Raises `SourceError` where the cache is too small for it.
        """
        live = self._process()
        if live._pool is not None:
            live._pool.expect(None)
        self.cache.due(None)
        live._announced.clear()
        live._order, live._early_bytes = order, 0
        needed = min(self.total_bytes, int(self.total_bytes * share) + 2 * self.largest_bytes)
        fits, fetch = needed <= self.cache.max_bytes, self.reading.fetch
        if not fits and fetch != "ranges" and (order != "stored" or fetch == "whole"):
            raise SourceError(self._refusal(order, needed))
        live._whole = fits and fetch != "ranges"

    def _refusal(self, order: Order, needed: int) -> str:
        what = {
            "random": "a full shuffle reads {} in any order",
            "by_shard": "a window of shards has {}",
            "stored": "what is read side by side has {}",
        }[order].format(f"{needed / 1e9:,.2f} GB")
        remedies = {
            "random": "Shuffle within windows (shuffle_shards=16), divide the set between ranks (groups), raise",
            "by_shard": "Use a smaller window (shuffle_shards), raise",
            "stored": "Raise",
        }
        return (
            f"{redacted(self.remote.root_url)}: {what}, and the cache in {self.cache.folder} may hold "
            f"{self.cache.max_bytes / 1e9:,.2f} GB, so that shards would be fetched again and again. {remedies[order]} "
            'cache_bytes (DIRVAE_CACHE_BYTES), or read single examples with RemoteReading(fetch="ranges").'
        )

    def expect(self, names: Iterable[str]) -> None:
        """Say which shards are needed next, after those that were announced before."""
        live = self._process()
        if not live._whole:
            return
        new = [name for name in dict.fromkeys(names) if name not in live._announced]
        if new:
            live._announced.update(new)
            self.cache.due(new)
            self._fetching().expect(new)

    def local_copy(self, name: str, *, wait: bool) -> LocalFile | None:
        """The local copy of a shard; None where shards are not fetched whole, or `wait` is False and it is not there.

        Raises `SourceError` where it cannot be had.
        """
        live = self._process()
        if not live._whole:
            return None
        pool = self._fetching()
        if live._order == "random" and not wait and name not in live._had:
            lease = pool.take(name)
            if lease is None:
                return None
        else:
            lease = pool.get(name)
        live._had.add(name)
        self.cache.done(name)
        return CachedShard(lease)

    def reads_early(self, num_bytes: int) -> bool:
        """Whether so many bytes may still be read by ranges although shards are fetched whole."""
        live = self._process()
        if not live._whole:
            return True
        if live._order != "random":
            return False
        with live._lock:
            live._early_bytes += num_bytes
            return live._early_bytes <= EARLY_SHARE * self.total_bytes

    def _let_go(self) -> None:
        """Of all local copies, once nobody reads them; what is still needed is opened again."""
        for blob in list(self._process()._blobs):
            blob.let_go()

    def _fetching(self) -> FetchPool[str, Lease]:
        live = self._process()
        with live._lock:
            if live._pool is None:
                ahead = self.cache.max_bytes if live._order == "random" else self.reading.read_ahead_bytes
                live._pool = FetchPool(
                    self._fetch,
                    lambda name: self.shards[name].size,
                    read_ahead_bytes=max(ahead, self.largest_bytes),
                    threads=self.reading.threads,
                    room=lambda: self.cache.max_bytes - self.cache.leased_bytes(),
                    make_room=self._let_go,
                )
            return live._pool

    def _fetch(self, name: str, request: FetchRequest) -> Lease:
        facts = self.shards[name]
        identity = facts.sha256 or self.remote.identity_of(name) or ""

        def download(writer: ShardWriter) -> None:
            def write(piece: bytes | memoryview) -> None:
                if request.is_cancelled:
                    raise CacheError(f"{redacted(name)}: not needed any more.")
                writer.write(piece)

            self.remote.download(name, write, restart=_begin_again, copied=False)

        for attempt in range(CHECKSUM_TRIES):
            try:
                return self.cache.acquire(
                    redacted(name), identity, facts.size, download, sha256=facts.sha256, ahead=request.ahead
                )
            except (ChecksumError, _BeginAgainError) as error:
                if attempt == CHECKSUM_TRIES - 1:
                    raise SourceError(str(error)) from error
        raise AssertionError("unreachable")

    def _small_file(self, name: str) -> bytes | None:
        """An index or frame table, by one request, or none where it was had before; None if missing."""
        with self._lock:
            alone = self._loading.setdefault(name, threading.Lock())
        with alone:  # threads that open a shard at the same time ask for its index once
            with self._lock:
                if name in self._small:
                    return self._small[name]
            entry = f"{cache_name(['remote', self._digests[name]])}.npy" if self._digests[name] else ""
            kept = read_entry(entry) if entry else None
            content = bytes(kept) if kept is not None else self.remote.find_whole(name)
            if kept is None and entry and content is not None:
                write_entry(entry, content)
            with self._lock:
                self._small[name] = content
                self._loading.pop(name, None)
        return content

    @property
    def _digests(self) -> Mapping[str, str]:
        found = self.__dict__.get("_all_digests")
        if found is None:
            found = {name: digest for facts in self.shards.values() for name, digest in facts.digests.items()}
            self.__dict__["_all_digests"] = found
        return found

    @property
    def counts(self) -> dict[str, float]:
        """Requests, tries again, bytes fetched, shards found in the cache, seconds that threads waited for shards."""
        now, pool = self.remote.counters.now(), self._pool
        return {
            "requests": now.requests,
            "retries": now.retries,
            "fetched_bytes": now.bytes,
            "cache_hits": self.cache.hits,
            "stall_seconds": 0.0 if pool is None else pool.stall_seconds,
        }

    def _process(self) -> ShardStore:
        if self._pid != os.getpid():
            self._begin()
        return self

    def close(self) -> None:
        """Let go of threads, connections and leases; they are made again when something is read."""
        if self._pid == os.getpid() and self._pool is not None:
            self._pool.close()
            self._let_go()
        self._pool = None
        self._announced.clear()
        self.remote.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"remote": self.remote, "reading": self.reading, "shards": self.shards}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class _BeginAgainError(SourceError):
    """A shard may have been replaced while it was fetched: what came is thrown away."""


def _begin_again() -> None:
    raise _BeginAgainError("a shard was changed, or may have been, while it was fetched again and again.")


class CachedShard(LocalFile):
    """The local copy of a shard, which is not evicted while it is open."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(lease.path)
        self._lease = lease


class ShardBlob:
    """A shard: its local copy as soon as there is one, ranges of it otherwise."""

    def __init__(self, store: ShardStore, name: str, facts: ShardFacts) -> None:
        self.name, self.size = name, facts.size
        self._store = store
        self._local: LocalFile | None = None
        self._far: Blob | None = None

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`, fewer at the end. Raises `SourceError`."""
        local = self._copy(length)
        return self._ranges().read(offset, length) if local is None else local.read(offset, length)

    def read_checked(self, offset: int, length: int, crc32: int | None) -> bytes:
        """The bytes of an example, and none but those of its CRC-32. Raises `SourceError`."""
        local = self._copy(length)
        if local is not None:  # the whole shard was compared with its SHA-256
            return local.read(offset, length)
        far = self._ranges()
        if isinstance(far, RemoteBlob):
            return far.read(offset, length, crc32=crc32)
        content = far.read(offset, length)
        if crc32 is not None and zlib.crc32(content) != crc32:
            raise SourceError(f"{redacted(self.name)}: the bytes from {offset:,} on fail their checksum.")
        return content

    def let_go(self) -> None:
        """Of the local copy, once nobody reads it."""
        self._local = None

    def _copy(self, num_bytes: int) -> LocalFile | None:
        local = self._local
        if local is None:
            local = self._store.local_copy(self.name, wait=False)
            if local is None and not self._store.reads_early(num_bytes):
                local = self._store.local_copy(self.name, wait=True)
            self._local = local
        return local

    def _ranges(self) -> Blob:
        if self._far is None:
            self._far = self._store.remote.open(self.name)
        return self._far


def _bytes_of_environment() -> int:
    """`DIRVAE_CACHE_BYTES`, such as 200G; 0 where it is not set."""
    text = os.environ.get("DIRVAE_CACHE_BYTES", "").strip()
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
    number, unit = (text[:-1], units.get(text[-1:].upper(), 0)) if text[-1:].isalpha() else (text, 1)
    if not text:
        return 0
    if not (number.isascii() and number.isdigit() and unit and int(number)):
        raise ValueError(f"DIRVAE_CACHE_BYTES is {text!r}; it must be a number of bytes, such as 200G.")
    return int(number) * unit


def _half_of_free(folder: Path) -> int:
    """Half of the bytes that are free on the disk of a folder, or in it already."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    kept = sum(path.stat().st_size for path in folder.glob("*.shard")) if folder.is_dir() else 0
    return max(1, min(MOST_CACHE_BYTES, (shutil.disk_usage(place).free + kept) // 2))
