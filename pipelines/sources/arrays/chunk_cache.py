"""Decoded chunks, or rows of them, that are kept for what is read next, bounded in bytes."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from numpy.typing import NDArray

from ...errors import SourceError

__all__ = ["ChunkCache"]

Chunk = NDArray[Any]
Load = Callable[[], Chunk]
Keep = Callable[[Chunk], Mapping[Hashable, Chunk]]


_caches: weakref.WeakSet[ChunkCache] = weakref.WeakSet()


def _forget_parents() -> None:
    """In a forked child: chunks that the parent's threads were loading will never come."""
    for cache in list(_caches):
        cache.forget_live()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)


class ChunkCache:
    """The chunks used last, at most `capacity_bytes` of them or one; each is loaded by one thread at a time.

    A chunk that cannot be loaded is not remembered: the next request tries again. Where `keep` is given, what it
    makes of a loaded chunk is kept instead of the chunk, under keys of its own. Pickled, it is empty.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.forget_live()
        _caches.add(self)

    def forget_live(self) -> None:
        """Start again with a new lock: after a fork, another process's threads may hold the old one."""
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Chunk] = OrderedDict()
        self._kept_bytes = 0
        self._loading: dict[Hashable, Future[Chunk]] = {}

    def get(self, key: Hashable, load: Load, keep: Keep | None = None) -> Chunk:
        """The chunk, from memory, from another thread that is loading it, or by `load`. Raises what that raises."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept
            loading = self._loading.get(key)
            if loading is None:
                mine = self._loading[key] = Future()
        return loading.result() if loading is not None else self._load(key, load, keep, mine)

    def take(self, key: Hashable) -> Chunk | None:
        """What is kept under a key, which is kept no longer; None where nothing is."""
        with self._lock:
            kept = self._kept.pop(key, None)
            self._kept_bytes -= kept.nbytes if kept is not None else 0
            return kept

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def warm(self, key: Hashable, load: Load, keep: Keep | None = None) -> None:
        """Load the chunk unless it is here or on its way. What `load` raises is left to `get`."""
        with self._lock:
            if key in self._kept or key in self._loading:
                return
            mine = self._loading[key] = Future()
        with suppress(SourceError):
            self._load(key, load, keep, mine)

    def _load(self, key: Hashable, load: Load, keep: Keep | None, mine: Future[Chunk]) -> Chunk:
        try:
            chunk = load()
            parts = {key: chunk} if keep is None else keep(chunk)
        except BaseException as error:
            with self._lock:
                del self._loading[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._loading[key]
            for name, part in parts.items():
                replaced = self._kept.pop(name, None)
                self._kept[name] = part
                self._kept_bytes += part.nbytes - (replaced.nbytes if replaced is not None else 0)
            while self._kept_bytes > self.capacity_bytes and len(self._kept) > 1:
                self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        mine.set_result(chunk)
        return chunk

    @property
    def kept_bytes(self) -> int:
        """Bytes of the chunks that are kept now."""
        return self._kept_bytes

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._kept.clear()
            self._kept_bytes = 0

    def __reduce__(self) -> tuple[type[ChunkCache], tuple[int]]:
        return ChunkCache, (self.capacity_bytes,)
