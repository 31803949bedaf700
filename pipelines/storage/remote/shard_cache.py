"""Whole remote files on the local disk: bounded in bytes, shared by all processes of a user, safe from any kill.

    folder/lock                    held while files are counted, removed, begun or finished; never during a download
    folder/<name>-<version>.part   being downloaded, locked by who does it; as long as the file will be
    folder/<name>-<version>.shard  finished; everyone who uses it shares its lock

A lock ends with its holder. So an unfinished file without a lock is a dead process's and is removed by the next
download, and a finished one without a lock is nobody's and may be evicted. A finished file has a fixed time of
modification: another one says that somebody wrote to it, and it is fetched again.

A file of known SHA-256 is not flushed to the disk, which would bind the download to the disk's speed. A crash of the
machine can then leave zeros in it; therefore a file from before the machine's last start is compared with its SHA-256
once. Without a SHA-256 a file is flushed before it is finished. The folder must lie on a disk of this machine: locks
and times of network file systems are not relied upon.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .cache_errors import CacheError, CacheFullError, cannot_keep
from .cached_files import CachedFile, DueList, digest_of_name, list_files, try_to_hold
from .finished_files import is_of_this_start, is_whole, mark_finished
from .folder_lock import Patience, locked_folder
from .held_files import HeldFile
from .leases import Lease
from .per_process import PerProcess
from .shard_writer import ShardWriter, digest_of

__all__ = ["CacheCounts", "ShardCache"]


@dataclass(frozen=True)
class CacheCounts:
    """Numbers of files.

    hits        that were there
    misses      that were downloaded, or tried to
    evictions   that were removed to make room
    waits       that were waited for: another process was downloading them, or there was no room
    """

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    waits: int = 0


class _Live:
    """What one process knows of its use of a cache; a forked process begins with nothing."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts = CacheCounts()
        self.leased: dict[int, tuple[str, int]] = {}
        self.due = DueList()

    def count(self, what: str, num: int = 1) -> None:
        with self.lock:
            self.counts = replace(self.counts, **{what: getattr(self.counts, what) + num})


class ShardCache:
    """Files of at most `max_bytes` bytes together, in a folder of this user; safe to use from threads and processes.

    A download waits up to `wait_seconds` for room, and as long for another process that downloads the same file and
    gets nothing more. Files in the folder that have other names than the cache gives are neither counted nor removed.
    Can be pickled; counters, leases and the order of need are not.
    """

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int, *, wait_seconds: float = 60.0) -> None:
        if max_bytes < 1:
            raise ValueError(f"max_bytes is {max_bytes}; it must be at least 1.")
        self.folder, self.max_bytes, self.wait_seconds = Path(folder), max_bytes, wait_seconds
        self._prefix = f"{self.folder}/"
        self._processes = PerProcess(_Live)

    @property
    def _live(self) -> _Live:
        return self._processes.get()

    def acquire(
        self,
        name: str,
        identity: str,
        size: int,
        download: Callable[[ShardWriter], object],
        *,
        sha256: str | None = None,
        ahead: bool = False,
    ) -> Lease:
        """The local copy of a file; `download(writer)` is called if it is not in the cache.

        `name` is used in errors and in the order of need; `identity` changes with the content; `size` is in bytes. A
        file that is fetched `ahead` does not wait for room and does not evict files that are due earlier. Errors of
        `download` are passed on. Raises `ChecksumError` for bytes that do not match `sha256` or `size`,
        `CacheFullError` without room, `CacheError` if the folder cannot be used.
        """
        sha256 = sha256.lower() if sha256 else None
        version = hashlib.sha256(f"{identity}\0{size}\0{sha256}".encode("utf-8", "surrogatepass")).hexdigest()[:24]
        wanted = _Wanted(name, size, sha256, f"{self._prefix}{digest_of_name(name)}-{version}")
        try:
            held = self._found(wanted)
            if held is not None and self._is_believed(wanted, held):
                return self._hit(wanted, held)
        except OSError as error:
            raise cannot_keep(name, error) from error
        return self._fetched(wanted, download, ahead=ahead)

    def due(self, names: Iterable[str] | None) -> None:
        """Say which shards are needed next, after those that were announced before; None: a new order begins."""
        self._live.due.extend(names)

    def done(self, name: str) -> None:
        """Say that a shard was had once; it is due again where it was announced again."""
        self._live.due.done(name)

    def used_bytes(self) -> int:
        """Bytes of all finished files and of all that are reserved for unfinished ones."""
        try:
            return sum(file.size for file in list_files(self.folder))
        except FileNotFoundError:
            return 0

    def leased_bytes(self) -> int:
        """Bytes of the files that this process holds leases of, each counted once."""
        return sum(dict(list(self._live.leased.values())).values())

    @property
    def counts(self) -> CacheCounts:
        """What this process did with the cache so far."""
        return self._live.counts

    def _fetched(self, wanted: _Wanted, download: Callable[[ShardWriter], object], *, ahead: bool) -> Lease:
        if wanted.size > self.max_bytes:
            raise CacheFullError(
                f"{wanted.name}: its {_gigabytes(wanted.size)} are more than the cache in {self.folder} may hold, "
                f"{_gigabytes(self.max_bytes)}. Raise cache_bytes."
            )
        patience, has_waited = Patience(self.wait_seconds), False
        while True:
            try:
                with self._locked():
                    held = self._found(wanted)
                    part = self._begun(wanted, ahead=ahead) if held is None else None
            except CacheFullError:
                if ahead or patience.is_over():
                    raise
                self._live.count("waits", 0 if has_waited else 1)
                has_waited = True
                patience.pause()
                continue
            if held is not None:
                if self._is_believed(wanted, held):
                    return self._hit(wanted, held)
            elif part is not None:
                if self._downloaded(wanted, part, download, ahead=ahead):
                    return Lease(wanted.path, wanted.size, part, self._live.leased)
            else:
                self._live.count("waits", 0 if has_waited else 1)
                has_waited = True
                self._wait_for_another(wanted)

    def _hit(self, wanted: _Wanted, held: HeldFile) -> Lease:
        live = self._live
        live.count("hits")
        return Lease(wanted.path, wanted.size, held, live.leased)

    def _found(self, wanted: _Wanted) -> HeldFile | None:
        """The finished file, its lock shared; None if it is absent, or was written to."""
        try:
            held = HeldFile(wanted.path)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise
            return None  # absent, or a link: what cannot be removed is complained of when it is to be replaced
        if held.lock(shared=True) and held.is_at(wanted.path) and is_whole(held.status(), wanted.size):
            return held
        held.close()
        return None

    def _is_believed(self, wanted: _Wanted, held: HeldFile) -> bool:
        """Whether a finished file survived a start of the machine; it is marked as used now, or removed."""
        if wanted.sha256 is not None and not is_of_this_start(held.status()):
            try:
                found = digest_of(_reader(held.descriptor), wanted.size)
            except OSError:  # the disk does not give it back: it is fetched again
                found = ""
            if found != wanted.sha256:
                with self._locked():
                    if held.is_at(wanted.path):
                        Path(wanted.path).unlink(missing_ok=True)
                held.close()
                return False
        with contextlib.suppress(OSError):  # a cache that can only be read can still be used
            mark_finished(held.descriptor)
        return True

    def _begun(self, wanted: _Wanted, *, ahead: bool) -> HeldFile | None:
        """An unfinished file of full length, locked; None if another downloads it. The folder is locked.

        Raises `CacheFullError`.
        """
        files = []
        for file in list_files(self.folder):
            dead = None if file.is_finished else try_to_hold(file.path)
            if dead is not None:
                Path(file.path).unlink(missing_ok=True)
                dead.close()
            elif file.path == wanted.path:  # was looked at, and is not what it should be
                Path(file.path).unlink(missing_ok=True)
            elif file.path == wanted.part:
                return None
            else:
                files.append(file)
        self._make_room(wanted, files, ahead=ahead)
        for path in map(Path, (wanted.path, wanted.part)):
            path.unlink(missing_ok=True)  # a link, say, or a file of another user
        part = HeldFile(wanted.part, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            part.lock()
            os.ftruncate(part.descriptor, wanted.size)
        except BaseException:
            Path(wanted.part).unlink(missing_ok=True)
            part.close()
            raise
        return part

    def _make_room(self, wanted: _Wanted, files: list[CachedFile], *, ahead: bool) -> None:
        """Evict as much as a file needs, or nothing if that is not enough."""
        missing = sum(file.size for file in files) + wanted.size - self.max_bytes
        if missing <= 0:
            return
        victims, missing = self._evict(files, missing, wanted, ahead=ahead)
        if missing > 0:
            kept = [file for file in files if file not in victims]
            raise CacheFullError(
                f"{self.folder}: the cache of {_gigabytes(self.max_bytes)} holds {len(kept)} shards in use or "
                f"due earlier, of {_gigabytes(sum(file.size for file in kept))}; {wanted.name} needs "
                f"{_gigabytes(wanted.size)}. Raise cache_bytes or use fewer threads."
            )

    def _downloaded(
        self, wanted: _Wanted, part: HeldFile, download: Callable[[ShardWriter], object], *, ahead: bool
    ) -> bool:
        """Fill an unfinished file and finish it, its lock shared; False where the folder was deleted meanwhile."""
        self._live.count("misses")
        try:
            self._check_disk(wanted, ahead=ahead)
            writer = ShardWriter(part.descriptor, wanted.name, wanted.size, with_digest=wanted.sha256 is not None)
            download(writer)
            writer.finish(wanted.sha256)
            if wanted.sha256 is None:
                _flush(wanted.name, part.descriptor)
            with self._locked():
                if not part.is_at(wanted.part):
                    part.close()
                    return False
                mark_finished(part.descriptor)
                Path(wanted.part).replace(wanted.path)
                part.lock(shared=True)  # nobody evicts in between: the folder is locked
        except BaseException:
            with contextlib.suppress(OSError):
                if part.is_at(wanted.part):
                    Path(wanted.part).unlink()
            part.close()
            raise
        return True

    def _check_disk(self, wanted: _Wanted, *, ahead: bool) -> None:
        """Refuse at once what the disk has no room for, also without what may be evicted. Raises `CacheError`."""
        try:
            if self._missing_on_disk(wanted) <= 0:
                return
            with self._locked():
                if not self._made_room_on_disk(wanted, ahead=ahead):
                    raise _no_space(wanted.name, ahead=ahead)
        except FileNotFoundError:
            return  # the folder was deleted; that is seen in the end
        except OSError as error:
            raise cannot_keep(wanted.name, error) from error

    def _missing_on_disk(self, wanted: _Wanted) -> int:
        disk = os.statvfs(self.folder)
        return wanted.size - disk.f_bavail * disk.f_frsize

    def _made_room_on_disk(self, wanted: _Wanted, *, ahead: bool) -> bool:
        """Evict as much as the disk lacks, or nothing if that is not enough. The folder is locked."""
        missing = self._missing_on_disk(wanted)
        _, missing = self._evict(list_files(self.folder), missing, wanted, ahead=ahead)
        return missing <= 0 and self._missing_on_disk(wanted) <= 0

    def _evict(
        self, files: list[CachedFile], missing: int, wanted: _Wanted, *, ahead: bool
    ) -> tuple[list[CachedFile], int]:
        """Remove finished files until `missing` bytes are free, or none if that cannot be. The folder is locked.

        Returns the files that may go, and how many bytes are missing without them.
        """
        finished = [file for file in files if file.is_finished]
        victims: list[CachedFile] = []
        with contextlib.ExitStack() as locks:
            for file in self._live.due.in_order_of_eviction(finished, ahead_of=wanted.name if ahead else None):
                if missing <= 0:
                    break
                held = try_to_hold(file.path)
                if held is not None:
                    locks.callback(held.close)
                    victims.append(file)
                    missing -= file.size
            if missing <= 0:
                for file in victims:
                    Path(file.path).unlink(missing_ok=True)
                self._live.count("evictions", len(victims))
        return victims, missing

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        return locked_folder(self.folder, self.wait_seconds)

    def _wait_for_another(self, wanted: _Wanted) -> None:
        """Wait until whoever downloads a file has finished, given up or died. Raises `CacheError` if nothing comes."""
        patience, written_ns = Patience(self.wait_seconds), -1
        while True:
            try:
                now_ns = os.lstat(wanted.part).st_mtime_ns
                other = HeldFile(wanted.part)
            except OSError:
                return
            is_free = other.lock(shared=True)
            other.close()
            if is_free:
                return
            if now_ns != written_ns:
                written_ns = now_ns
                patience.begin()
            if patience.is_over():
                raise CacheError(
                    f"{wanted.name}: another process downloads it into {self.folder}, and has got nothing for "
                    f"{self.wait_seconds:,.0f} seconds. End that process, or name another folder."
                )
            patience.pause()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "max_bytes": self.max_bytes, "wait_seconds": self.wait_seconds}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"ShardCache({str(self.folder)!r}, {self.max_bytes:,} bytes)"


class _Wanted:
    """A file that was asked for, and where it lies finished and unfinished."""

    __slots__ = ("name", "part", "path", "sha256", "size")

    def __init__(self, name: str, size: int, sha256: str | None, place: str) -> None:
        self.name, self.size, self.sha256 = name, size, sha256
        self.path, self.part = f"{place}.shard", f"{place}.part"


def _no_space(name: str, *, ahead: bool) -> CacheError:
    error = cannot_keep(name, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    return CacheFullError(str(error)) if ahead else error


def _reader(descriptor: int) -> Callable[[int, int], bytes]:
    return lambda offset, length: os.pread(descriptor, length, offset)


def _flush(name: str, descriptor: int) -> None:
    try:
        getattr(os, "fdatasync", os.fsync)(descriptor)
    except OSError as error:
        raise cannot_keep(name, error) from error


def _gigabytes(num: int) -> str:
    return f"{num / 1e9:,.1f} GB" if num >= 10**8 else f"{num:,} bytes"
