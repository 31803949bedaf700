"""The files of one shard from a bucket, fetched a few ahead of being packed.

They have no name on the disk, so a killed process leaves no files.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from ..errors import SourceError
from ..storage.remote.retrying import AbsentError
from ..storage.remote.urls import join
from ..storage.source_files import SourceFile
from .source_bucket import SourceUrl
from .source_reader import SourceReader, changed_error, kept_when_stopped
from .temporary_disk import temporary_disk_errors

__all__ = ["FetchedInputs"]

FETCH_THREADS = 8
AHEAD_BYTES = 64 << 20
"""Of files that are fetched before they are packed; a larger file is fetched alone."""
AHEAD_FILES = 64

OPEN_FILES = Path("/proc/self/fd")
Fetched = dict[str, IO[bytes]]


class FetchedInputs:
    """Files below a URL, each fetched once, with its sidecars; `AHEAD_BYTES` of them at most lie on this disk."""

    def __init__(self, source: SourceUrl, files: Sequence[SourceFile]) -> None:
        self._store, self._files = source.store(), files
        self._threads = ThreadPoolExecutor(FETCH_THREADS)
        self._ahead: deque[tuple[int, int, Future[Fetched]]] = deque()  # number, bytes, files
        self._next, self._bytes = 0, 0

    def reader(self, number: int, path: str, size: int) -> SourceReader:
        """See `TaskInputs`. Raises `PackingStoppedError` for a file that cannot be fetched, or has changed."""
        while self._ahead and self._ahead[0][0] < number:
            self._let_go()
        self._next = max(self._next, number)
        self._fetch_ahead()
        assert self._ahead[0][0] == number, "files are read in their order"
        file = self._ahead[0][2].result()[path]
        return SourceReader(Path(), path, size, full_path=_path_of(file))

    def _fetch_ahead(self) -> None:
        """Begin to fetch the next files while there is room for them."""
        while self._next < len(self._files) and len(self._ahead) < AHEAD_FILES:
            file = self._files[self._next]
            num_bytes = file.size + sum(size for _, size in file.sidecars)
            if self._ahead and self._bytes + num_bytes > AHEAD_BYTES:
                break
            self._ahead.append((self._next, num_bytes, self._threads.submit(self._fetch, file)))
            self._bytes += num_bytes
            self._next += 1

    def _fetch(self, file: SourceFile) -> Fetched:
        """A file and its sidecars."""
        sizes = {file.path: file.size, **{f"{file.stem}.{suffix}": size for suffix, size in file.sidecars}}
        found: Fetched = {}
        try:
            with temporary_disk_errors(), kept_when_stopped():
                for path, size in sizes.items():
                    found[path] = _temporary_file()
                    self._download(path, size, found[path])
        except BaseException:
            _close(found)
            raise
        return found

    def _download(self, path: str, size: int, target: IO[bytes]) -> None:
        def restart() -> None:
            target.seek(0)
            target.truncate()

        try:
            self._store.download(
                join(self._store.root_url, path), _bounded(target, path, size), restart=restart, copied=False
            )
            target.flush()
        except SourceError as error:
            if isinstance(error.__cause__, AbsentError):
                raise changed_error(path, size) from error
            raise

    def _let_go(self) -> None:
        """Forget the oldest of the fetched files."""
        _, num_bytes, future = self._ahead.popleft()
        self._bytes -= num_bytes
        if not future.cancel() and future.exception() is None:
            _close(future.result())

    def close(self) -> None:
        """Stop fetching, and remove what was fetched."""
        for _, _, future in self._ahead:
            future.cancel()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for _, _, future in self._ahead:
            if not future.cancelled() and future.exception() is None:
                _close(future.result())
        self._ahead.clear()
        self._store.close()


def _temporary_file() -> IO[bytes]:
    """A temporary file: without a name where an open file can be opened again, as on Linux."""
    return tempfile.TemporaryFile() if OPEN_FILES.is_dir() else tempfile.NamedTemporaryFile()


def _path_of(file: IO[bytes]) -> str:
    """A path that opens the file, in child processes as well."""
    return str(file.name) if isinstance(file.name, str) else f"/proc/{os.getpid()}/fd/{file.fileno()}"


def _bounded(target: IO[bytes], path: str, size: int) -> Callable[[Any], None]:
    """Writes to a file, but no more than `size` bytes."""

    def write(piece: Any) -> None:
        if target.tell() + len(piece) > size:
            raise changed_error(path, size)
        target.write(piece)

    return write


def _close(files: Fetched) -> None:
    for file in files.values():
        file.close()
