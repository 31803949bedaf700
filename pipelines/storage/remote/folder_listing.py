"""What lies below a URL, as a walk finds it below a folder, and what each file there begins with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from ...errors import SourceError
from ..found_files import FoundFilesWriter
from ..media_types import head_within
from ..walk import Walk
from .client import Facts
from .remote_store import RemoteStore
from .urls import join, redacted

__all__ = ["RemoteHeads", "reading_heads", "walk_url"]

HEAD_THREADS = 32
FIRST_BYTES = 32


def walk_url(store: RemoteStore) -> Walk:
    """All files below the root of a store but hidden ones: a request for each 1,000. Raises `SourceError`."""
    files = FoundFilesWriter()
    start = files.mark()
    for page in store.paths_below(restart=lambda: files.back_to(start)):
        paths, sizes = list[str](), list[int]()
        for path, size in page:
            if size is None:
                raise SourceError(
                    f"{redacted(store.root_url)}: its listing does not say how large the files are, so that shards "
                    "cannot be planned. Copy the files to a bucket or to this machine."
                )
            if _is_visible(path):
                paths.append(path)
                sizes.append(size)
        files.add(paths, sizes)
    return Walk(files.finish())


def _is_visible(path: str) -> bool:
    """Whether no part of a path is hidden; empty parts are of objects that stand for folders."""
    return not any(not name or name.startswith(".") for name in path.split("/"))


@contextmanager
def reading_heads(store: RemoteStore) -> Iterator[RemoteHeads]:
    """Reads the heads of files below the root of a store while it is entered, by many threads."""
    with ThreadPoolExecutor(HEAD_THREADS) as threads:
        yield RemoteHeads(store, threads)


class RemoteHeads:
    """Reads what files begin with: a request for each, and a few more for a recording that begins with other bytes."""

    def __init__(self, store: RemoteStore, threads: ThreadPoolExecutor) -> None:
        self._store, self._threads = store, threads

    def read(self, paths: Sequence[str], sizes: Sequence[int]) -> list[bytes | str]:
        """The first bytes of each file. Raises `SourceError`, so that a listing never depends on a lost request."""
        return list(self._threads.map(self._read_one, paths, sizes))

    def _read_one(self, path: str, size: int) -> bytes:
        read = self._reader(path, size)
        return head_within(path, read(0, FIRST_BYTES), read, lambda: size)

    def _reader(self, path: str, size: int) -> Callable[[int, int], bytes]:
        name = join(self._store.root_url, path)

        def read(offset: int, length: int) -> bytes:
            length = min(length, size - offset)
            return self._store.read_range(name, offset, length, Facts(size))[0] if length > 0 else b""

        return read
