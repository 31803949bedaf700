"""Fetches whole shards into the cache, checked; one that failed is not fetched again for a while."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...errors import SourceError
from ...stopping import StoppedError
from .cache_errors import CacheError, ChecksumError
from .fetch_pool import FetchRequest
from .leases import Lease
from .remote_store import RemoteStore
from .shard_cache import ShardCache
from .shard_writer import ShardWriter
from .urls import redacted

__all__ = ["ShardFacts", "ShardFetcher"]

CHECKSUM_TRIES = 3
FAILED_SECONDS = 60.0
"""How long a shard that failed is not requested again; otherwise each of its examples would request it."""


@dataclass(frozen=True)
class ShardFacts:
    """What a manifest says of a shard: its bytes and SHA-256, and the digests of its index and frame table."""

    size: int
    sha256: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)


class ShardFetcher:
    """Fetches shards by their names; safe to use from many threads."""

    def __init__(self, remote: RemoteStore, cache: ShardCache, facts: Mapping[str, ShardFacts]) -> None:
        self._remote, self._cache, self._facts = remote, cache, facts
        self._failed: dict[str, tuple[SourceError, float]] = {}

    def forget_failures(self) -> None:
        """Allow shards that failed to be fetched again."""
        self._failed.clear()

    def fetch(self, name: str, request: FetchRequest) -> Lease:
        """The lease of a shard, from the cache or fetched into it. Raises `SourceError` if that fails."""
        failed, at = self._failed.get(name, (None, 0.0))
        if failed is not None and time.monotonic() - at < FAILED_SECONDS:
            raise SourceError(str(failed)) from failed
        try:
            return self._fetch_checked(name, request)
        except (CacheError, StoppedError):
            raise
        except SourceError as error:
            self._failed[name] = error, time.monotonic()
            raise

    def _fetch_checked(self, name: str, request: FetchRequest) -> Lease:
        facts = self._facts[name]
        identity = facts.sha256 or self._remote.identity_of(name) or ""

        def download(writer: ShardWriter) -> None:
            def write(piece: bytes | memoryview) -> None:
                if request.is_cancelled:
                    raise CacheError(f"{redacted(name)}: not needed any more.")
                writer.write(piece)

            self._remote.download(name, write, restart=_begin_again, copied=False)

        for attempt in range(CHECKSUM_TRIES):
            try:
                return self._cache.acquire(
                    redacted(name), identity, facts.size, download, sha256=facts.sha256, ahead=request.ahead
                )
            except (ChecksumError, _BeginAgainError) as error:
                if attempt == CHECKSUM_TRIES - 1:
                    raise SourceError(str(error)) from error
        raise AssertionError("unreachable")


class _BeginAgainError(SourceError):
    """A shard may have been replaced while it was fetched: what came is thrown away."""


def _begin_again() -> None:
    raise _BeginAgainError("a shard was changed, or may have been, while it was fetched again and again.")
