"""A bucket in the memory of this process, by obstore; all else is the code that S3 is served by."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from pipelines.storage.remote import obstore_client
from pipelines.storage.remote.retrying import RetryPolicy

__all__ = ["IMPATIENT", "memory_contents", "use_memory"]

IMPATIENT = RetryPolicy(attempts=2, first_wait=0.001)


def use_memory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every bucket is this one from now on; returns obstore's store."""
    pytest.importorskip("obstore", reason="obstore is absent: it writes to buckets")
    from obstore.store import MemoryStore

    store = MemoryStore()
    monkeypatch.setattr(obstore_client.ObstoreClient, "_make", lambda client, most: store)
    return store


def memory_contents(store: Any, prefix: str) -> dict[str, tuple[int, str]]:
    """Name below the prefix → bytes and SHA-256 of every object."""
    import obstore

    found = {}
    for page in obstore.list(store, prefix):
        for entry in page:
            body = bytes(obstore.get(store, entry["path"]).bytes())
            found[entry["path"].removeprefix(prefix + "/")] = len(body), hashlib.sha256(body).hexdigest()
    return found
