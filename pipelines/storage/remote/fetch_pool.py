"""Threads that fetch what is needed next, in the order of need and at most a number of bytes ahead.

    expect(keys) ──▶ queue ──▶ threads ──▶ ready ──▶ get(key)
                                 fetch       leases held until they are asked for

A key that is not ready when it is asked for is fetched at once, by the thread that asks, before all in the queue.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Generic, Protocol, TypeVar

from ...stopping import STOP_SECONDS, check_stopped, stopped_by
from .cache_errors import CacheFullError
from .per_process import PerProcess

__all__ = ["FetchPool", "FetchRequest"]

SHORTEST_CHECK_SECONDS = 0.02
"""Between two checks whether the next key has room; the release of a lease is not announced."""


class Releasable(Protocol):
    """What a fetch returns."""

    def release(self) -> None:
        """Let go of it."""


K = TypeVar("K", bound=Hashable)
L = TypeVar("L", bound=Releasable)


class FetchRequest:
    """What a fetch is for: `ahead` of need, in which case it may raise `CacheFullError` at once instead of waiting.

    A long fetch looks at `is_cancelled` now and then, and may raise anything when nobody needs it any more.
    """

    __slots__ = ("ahead", "is_cancelled", "waiting")

    def __init__(self, *, ahead: bool) -> None:
        self.ahead, self.is_cancelled = ahead, False
        self.waiting = 0


def _is_cancelled(request: FetchRequest) -> bool:
    return request.is_cancelled


class _Live(Generic[K, L]):
    """What one process has going on; a forked process begins with nothing."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.Lock())
        self.queue: deque[K] = deque()
        self.fetching: dict[K, FetchRequest] = {}
        self.ready: dict[K, L] = {}
        self.sizes: dict[K, int] = {}
        self.threads: set[threading.Thread] = set()
        self.num_short = 0  # threads that ask for a key and find no room
        self.full_until = 0.0
        self.stall_seconds = 0.0
        self.is_closed = False


class FetchPool(Generic[K, L]):
    """Fetches keys ahead of need; safe to use from many threads.

    fetch       makes a lease of a key: `fetch(key, request)`. Called by the pool's threads and by those that `get`.
    size_of     bytes of a key, asked for once before it is read ahead.
    read_ahead_bytes   most bytes that are requested or ready and were not asked for yet; 0 reads nothing ahead.
    room        bytes that may be requested besides all that is leased; called often, so it must be quick. None: no
                such bound.
    make_room   called when a key that is needed now finds no room; it may release leases that nobody uses.

    No thread lives before the first `expect`, nor `idle_seconds` after the last one had something to do, nor after
    `close`. A forked process, or a copy from a pickle, begins with nothing.
    """

    def __init__(
        self,
        fetch: Callable[[K, FetchRequest], L],
        size_of: Callable[[K], int],
        *,
        read_ahead_bytes: int,
        threads: int = 4,
        room: Callable[[], int] | None = None,
        make_room: Callable[[], None] | None = None,
        idle_seconds: float = 5.0,
    ) -> None:
        if threads < 1:
            raise ValueError(f"threads is {threads}; it must be at least 1.")
        if read_ahead_bytes < 0:
            raise ValueError(f"read_ahead_bytes is {read_ahead_bytes}; it must not be negative.")
        self.read_ahead_bytes, self.threads, self.idle_seconds = read_ahead_bytes, threads, idle_seconds
        self._fetch, self._size_of, self._room, self._make_room = fetch, size_of, room, make_room
        self._processes = PerProcess[_Live[K, L]](_Live)

    @property
    def _live(self) -> _Live[K, L]:
        return self._processes.get()

    @property
    def stall_seconds(self) -> float:
        """Seconds that all threads of this process together waited in `get`."""
        return self._live.stall_seconds

    def expect(self, keys: Iterable[K] | None) -> None:
        """Say which keys are needed next, after those that were announced before; None: a new order begins.

        Then what was read ahead is let go of, and what is being fetched is cancelled unless a `get` waits for it.
        """
        live = self._live
        if keys is None:
            self._drop(live)
            return
        keys = list(keys)
        with live.changed:
            live.is_closed = False
            live.queue.extend(keys)
            for key in keys:
                if key in live.fetching:
                    live.fetching[key].is_cancelled = False  # it may have noticed already: then `get` fetches it
            self._start_threads(live)
            live.changed.notify_all()

    def get(self, key: K) -> L:
        """The lease of a key; the caller releases it.

        A key that is not ready is fetched by this thread, so a fetch that failed ahead is tried once more.
        Raises what `fetch` raises, and `StoppedError`.
        """
        lease = self.take(key)
        if lease is not None:
            return lease
        live, began = self._live, time.perf_counter()
        try:
            return self._waited_for(live, key)
        finally:
            elapsed = time.perf_counter() - began
            with live.changed:
                live.stall_seconds += elapsed

    def take(self, key: K) -> L | None:
        """The lease of a key that is ready; None if the caller would have to wait."""
        live = self._live
        with live.changed:
            return self._take_ready(live, key)

    def close(self, *, wait_seconds: float = 5.0) -> None:
        """Cancel everything and let go of it; wait for the threads to end. The pool can be used again afterwards."""
        live = self._live
        with live.changed:
            live.is_closed = True
        self._drop(live)
        deadline = time.monotonic() + wait_seconds
        for thread in list(live.threads):
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _drop(self, live: _Live[K, L]) -> None:
        with live.changed:
            live.queue.clear()
            leases = list(live.ready.values())
            live.ready.clear()
            live.sizes = {key: live.sizes[key] for key in live.fetching if key in live.sizes}
            for request in live.fetching.values():
                request.is_cancelled = request.ahead and not request.waiting
            live.changed.notify_all()
        for lease in leases:
            lease.release()

    def _take_ready(self, live: _Live[K, L], key: K) -> L | None:
        """The lease of a key if it is ready. The lock is held."""
        lease = live.ready.pop(key, None)
        if lease is not None:
            self._taken(live, key)
        return lease

    def _taken(self, live: _Live[K, L], key: K) -> None:
        """A key is asked for: it is not ahead of need any more, and its bytes are free for others."""
        live.sizes.pop(key, None)
        self._start_threads(live)
        live.changed.notify_all()

    def _waited_for(self, live: _Live[K, L], key: K) -> L:
        with live.changed:
            while (lease := self._take_ready(live, key)) is None and (
                request := live.fetching.get(key)
            ) is not None:
                request.waiting += 1
                request.is_cancelled = False
                try:
                    live.changed.wait(STOP_SECONDS)
                    check_stopped("what is being fetched")
                finally:
                    request.waiting -= 1
            if lease is not None:
                return lease
            with contextlib.suppress(ValueError):
                live.queue.remove(key)
            live.fetching[key] = FetchRequest(ahead=False)
            live.sizes.pop(key, None)
        try:
            return self._fetched_now(live, key)
        finally:
            with live.changed:
                del live.fetching[key]
                self._taken(live, key)

    def _fetched_now(self, live: _Live[K, L], key: K) -> L:
        """Fetch what is needed now; where there is no room, what is ready and due last makes way for it."""
        while True:
            try:
                return self._fetch(key, FetchRequest(ahead=True))
            except CacheFullError:
                with live.changed:
                    last = live.ready.popitem() if live.ready else None
                    if last is not None:
                        live.queue.appendleft(last[0])
            if last is None:
                break
            last[1].release()
        with live.changed:
            live.num_short += 1
        try:
            if self._make_room is not None:
                self._make_room()
            return self._fetch(key, FetchRequest(ahead=False))
        finally:
            with live.changed:
                live.num_short -= 1

    def _start_threads(self, live: _Live[K, L]) -> None:
        """As many as there is work for. The lock is held."""
        if live.is_closed or not self.read_ahead_bytes:
            return
        for _ in range(min(self.threads, len(live.queue) + len(live.fetching)) - len(live.threads)):
            thread = threading.Thread(target=self._work, args=(live,), name="fetch ahead", daemon=True)
            live.threads.add(thread)
            try:
                thread.start()
            except RuntimeError:  # no more threads in this process, or it ends: reading ahead is only a help
                live.threads.discard(thread)
                return

    def _work(self, live: _Live[K, L]) -> None:
        while (claimed := self._claimed(live)) is not None:
            key, request = claimed
            lease: L | None = None
            is_full = False
            try:
                with stopped_by(partial(_is_cancelled, request)):
                    lease = self._fetch(key, request)
            except CacheFullError:
                is_full = True
            except BaseException:  # `get` tries again, and raises what it meets then
                lease = None
            with live.changed:
                del live.fetching[key]
                if is_full and not request.is_cancelled and not request.waiting:
                    live.queue.appendleft(key)
                    live.full_until = time.monotonic() + 0.5
                is_wanted = lease is not None and not request.is_cancelled
                if is_wanted and (request.waiting or not live.num_short):
                    assert lease is not None
                    live.ready[key], lease = lease, None
                else:
                    live.sizes.pop(key, None)
                live.changed.notify_all()
            if lease is not None:
                lease.release()

    def _claimed(self, live: _Live[K, L]) -> tuple[K, FetchRequest] | None:
        """The next key to be read ahead, once there is one and it has room; None after a time without."""
        deadline = time.monotonic() + self.idle_seconds
        while True:
            with live.changed:
                while live.queue and (live.queue[0] in live.ready or live.queue[0] in live.fetching):
                    live.queue.popleft()
                now = time.monotonic()
                if live.is_closed or now >= deadline:
                    live.threads.discard(threading.current_thread())
                    return None
                if not live.queue or live.num_short or now < live.full_until:
                    live.changed.wait(min(deadline - now, 0.1 if live.queue else self.idle_seconds))
                    continue
                key = live.queue[0]
                size = live.sizes.get(key)
                if size is not None and self._fits(live, size):
                    live.queue.popleft()
                    request = live.fetching[key] = FetchRequest(ahead=True)
                    return key, request
                if size is not None:
                    live.changed.wait(min(deadline - now, SHORTEST_CHECK_SECONDS))
                    continue
            try:
                size = self._size_of(key)
            except Exception:  # its fetch says what is wrong
                size = 0
            with live.changed:
                live.sizes.setdefault(key, size)

    def _fits(self, live: _Live[K, L], size: int) -> bool:
        ahead = sum(live.sizes.get(key, 0) for key in (*live.fetching, *live.ready))
        if ahead + size > self.read_ahead_bytes:
            return False
        requested = sum(live.sizes.get(key, 0) for key in live.fetching)
        return self._room is None or requested + size <= self._room()

    def __repr__(self) -> str:
        return f"FetchPool(threads={self.threads}, read_ahead_bytes={self.read_ahead_bytes:,})"
