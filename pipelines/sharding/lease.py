"""One run at a time in a bucket: an object that says which process packs, and that this process writes again and again.

    SET/.make_shards/lease.json     host, pid, start of the process, a random id, number of refreshes

It is created and changed by conditional writes only, so of two runs one has it. Its holder writes it anew every
`REFRESH_SECONDS`. A run that finds the lease of another one is refused; it takes the lease over where that was a
process of this machine that is gone, or where the lease was not refreshed for `LEASE_SECONDS`, by the clock of
the bucket. A holder that was suspended for that long notices it before it writes anything that other runs could see.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ShardingError, SourceError
from ..stopping import stopped_by
from ..storage.json_text import parse_json
from ..storage.remote.bucket import Bucket, Stored
from .temporary_disk import process_start
from .wording import printable

__all__ = ["LEASE_SECONDS", "REFRESH_SECONDS", "Lease", "hold_lease"]

LEASE_SECONDS = 60.0
REFRESH_SECONDS = 15.0


class Lease:
    """The right to change a set, while it is held; `run` is the random id of this run."""

    def __init__(self, bucket: Bucket, name: str) -> None:
        self.run = os.urandom(8).hex()
        self._bucket, self._name = bucket, name
        self._lock, self._is_lost, self._refreshes = threading.Lock(), False, 0
        self._stored, self._held_until = Stored(0), 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="make_shards lease", daemon=True)

    def acquire(self) -> None:
        """Take the lease. Raises `ShardingError` if another run has it."""
        began = time.monotonic()
        stored = self._bucket.create(self._name, self._content())
        if stored is None:
            found = self._bucket.read(self._name)
            if found is not None:
                self._refuse_if_alive(*found)
                stored = self._bucket.replace(self._name, self._content(), found[1])
            else:
                stored = self._bucket.create(self._name, self._content())
        if stored is None:
            raise ShardingError(f"{self._bucket.shown}: another run has just begun to pack into it. {WAIT}")
        self._taken(stored, began)
        self._thread.start()

    def check(self) -> None:
        """Raise `ShardingError` if this run does not hold the lease any more; asks the bucket only where it may not."""
        if time.monotonic() > self._held_until:
            with contextlib.suppress(SourceError):
                self._refresh()
        if self._is_lost or time.monotonic() > self._held_until:
            raise ShardingError(
                f"{self._bucket.shown}: this run was silent for a minute, and another one may have taken over. "
                "Run the same command again if no other run packs into it: finished shards are kept."
            )

    def release(self) -> None:
        """Give the lease back, if it is still this run's."""
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(SourceError):
            if (
                not self._is_lost
                and (there := self._bucket.stored(self._name))
                and there.plain_tag == self._stored.plain_tag
            ):
                self._bucket.delete([self._name])

    def _keep(self) -> None:
        while not self._stop.wait(REFRESH_SECONDS):
            with contextlib.suppress(SourceError), stopped_by(self._stop.is_set):
                self._refresh()

    def _refresh(self) -> None:
        """Write the lease anew; it is lost where another run has changed it."""
        with self._lock:
            if self._is_lost:
                return
            began = time.monotonic()
            stored = self._bucket.replace(self._name, self._content(), self._stored)
            if stored is None:
                self._is_lost = True
            else:
                self._taken(stored, began)

    def _taken(self, stored: Stored, began: float) -> None:
        self._stored, self._held_until = stored, began + LEASE_SECONDS - REFRESH_SECONDS

    def _content(self) -> bytes:
        self._refreshes += 1
        content = {"host": _host(), "pid": os.getpid(), "start": process_start(os.getpid()), "run": self.run}
        return json.dumps({**content, "refreshes": self._refreshes, "time": time.time()}).encode("ascii")

    def _refuse_if_alive(self, content: bytes, stored: Stored) -> None:
        """Raise `ShardingError` if the holder of a lease may be alive."""
        holder = _parsed(content)
        pid, host = holder.get("pid"), holder.get("host")
        if host == _host() and type(pid) is int and process_start(pid) != holder.get("start"):
            return
        if self._silent_seconds() < LEASE_SECONDS:
            raise ShardingError(
                f"{self._bucket.shown}: process {printable(str(pid))} of {_shown(host)} is packing into it. "
                f"{WAIT} If that run is gone, its lease ends {LEASE_SECONDS:.0f} seconds after it was last written."
            )

    def _silent_seconds(self) -> float:
        """For how long the lease was not written, by the bucket's clock; 0 where the bucket does not say."""
        probe = f"{self._name}.{self.run}"
        try:
            self._bucket.write(probe, b"")
            written, now = self._bucket.modified(self._name), self._bucket.modified(probe)
        finally:
            self._bucket.delete([probe])
        return 0.0 if written is None or now is None else (now - written).total_seconds()


WAIT = "Wait for it to finish, or stop it first."


@contextlib.contextmanager
def hold_lease(bucket: Bucket, name: str) -> Iterator[Lease]:
    """Hold the lease of a set. Raises `ShardingError` if another run has it."""
    lease = Lease(bucket, name)
    lease.acquire()
    try:
        yield lease
    finally:
        lease.release()


def _parsed(content: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found = parse_json(content.decode("utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def _shown(host: object) -> str:
    """The name of a host without what tells its starts apart."""
    return printable(str(host).partition(" ")[0])


def _host() -> str:
    """This machine until it is started again; a name alone may be that of many containers."""
    with contextlib.suppress(OSError):
        space = Path("/proc/self/ns/pid").readlink().name
        return f"{socket.gethostname()} {Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {space}"
    return socket.gethostname()
