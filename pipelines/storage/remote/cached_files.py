"""The files of a cache's folder, as its listing shows them: finished shards, unfinished ones, and which go first.

There is no other record of what the cache holds, so nothing can contradict it. An unfinished file has its full length
from the start: the sum of all lengths is what is used and what is reserved.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .held_files import HeldFile

__all__ = ["CachedFile", "DueList", "digest_of_name", "list_files", "try_to_hold"]

OWN_NAME = re.compile(r"([0-9a-f]{24})-[0-9a-f]{24}\.(shard|part)")


class CachedFile(NamedTuple):
    """A file of the cache: where, whose (a digest of the shard's name), bytes, when it was last asked for."""

    path: str
    owner: str
    size: int
    used_ns: int
    is_finished: bool


def digest_of_name(name: str) -> str:
    """The digest of a shard's name that the names of its files begin with."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def list_files(folder: Path) -> list[CachedFile]:
    """The plain files of this user that are named as the cache names them. All others are ignored."""
    found, user = [], os.geteuid()
    with os.scandir(folder) as entries:
        for entry in entries:
            match = OWN_NAME.fullmatch(entry.name)
            if match is None:
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_uid == user:
                owner, kind = match.groups()
                found.append(CachedFile(entry.path, owner, status.st_size, status.st_atime_ns, kind == "shard"))
    return found


def try_to_hold(path: str) -> HeldFile | None:
    """A file, locked for this process alone; None if another holds it, or if it is gone or cannot be opened."""
    try:
        held = HeldFile(path)
    except OSError:
        return None
    if held.lock() and held.is_at(path):
        return held
    held.close()
    return None


class DueList:
    """The order in which this process needs shards, and which file may go before which."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[str, deque[int]] = {}
        self._next = 0

    def extend(self, names: Iterable[str] | None) -> None:
        """Add names after those that were added before; None clears the list."""
        with self._lock:
            if names is None:
                self._places, self._next = {}, 0
                return
            for name in names:
                self._places.setdefault(digest_of_name(name), deque()).append(self._next)
                self._next += 1

    def done(self, name: str) -> None:
        """A shard was used once: remove its first place."""
        owner = digest_of_name(name)
        with self._lock:
            places = self._places.get(owner)
            if places:
                places.popleft()
                if not places:
                    del self._places[owner]

    def in_order_of_eviction(self, files: Iterable[CachedFile], *, ahead_of: str | None = None) -> list[CachedFile]:
        """First the files that are not due, least recently used first; then those that are due, the latest first.

        `ahead_of` is the name of a shard that is fetched ahead: files that are due before it are left out, and if it
        is not due itself, all that are due.
        """
        files = list(files)
        with self._lock:
            place = {file.owner: self._places[file.owner][0] for file in files if file.owner in self._places}
            own = self._places.get(digest_of_name(ahead_of)) if ahead_of is not None else None
        if ahead_of is not None:
            files = [file for file in files if file.owner not in place or (own and own[0] < place[file.owner])]
        return sorted(files, key=lambda file: (file.owner in place, -place.get(file.owner, 0), file.used_ns))
