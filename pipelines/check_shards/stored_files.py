"""Reading the files of a set, local or remote: small files whole, large files piece by piece."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from ..errors import SourceError
from ..stopping import StoppedError
from ..storage.blob import LocalFile
from ..storage.plain_files import MOST_TEXT_BYTES, map_plain, read_plain
from ..storage.remote.remote_store import RemoteStore
from ..storage.remote.retrying import AbsentError
from ..storage.remote.urls import is_url, join, redacted
from ..storage.store import LocalStore

__all__ = ["AnyStore", "below", "read_index_file", "read_small", "stream_file"]

AnyStore = LocalStore | RemoteStore
AT_ONCE = 4 << 20


def below(folder: str, name: str) -> str:
    """The path or URL of a file in a folder."""
    return join(folder, name) if is_url(folder) else str(Path(folder) / name)


def read_small(store: AnyStore, name: str) -> bytes | None:
    """All bytes of a manifest or a table, None if there is no such file. Raises `SourceError`."""
    if isinstance(store, RemoteStore):
        return store.find_whole(name)
    try:
        return read_plain(name, most=MOST_TEXT_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError(f"{name}: cannot be read ({error.strerror}).") from error


def read_index_file(store: AnyStore, name: str) -> memoryview | None:
    """All bytes of an index or a frame table, None if there is no such file; a local file is memory-mapped."""
    if isinstance(store, RemoteStore):
        content = store.find_whole(name)
        return None if content is None else memoryview(content)
    try:
        return map_plain(name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError(f"{name}: cannot be read ({error.strerror}).") from error


def stream_file(
    store: AnyStore,
    name: str,
    feed: Callable[[bytes], None],
    *,
    restart: Callable[[], None],
    stop: threading.Event,
) -> bool:
    """Pass all bytes of a file to `feed`, in order; False if there is no such file.

    `restart` is called before the first byte comes again, because a remote file changed meanwhile. Raises `SourceError`
    if the file cannot be read, `StoppedError` once `stop` is set.
    """

    def feed_or_stop(piece: bytes) -> None:
        if stop.is_set():
            raise StoppedError(f"{redacted(name)}: not needed any more.")
        feed(piece)

    if isinstance(store, RemoteStore):
        try:
            store.download(name, feed_or_stop, restart=restart)
        except SourceError as error:
            if isinstance(error.__cause__, AbsentError):
                return False
            raise
        return True
    if store.size_of(name) is None:
        return False
    file, offset = LocalFile(name), 0
    while piece := file.read(offset, AT_ONCE):
        feed_or_stop(piece)
        offset += len(piece)
    return True
