"""A store of remote files; names are URLs. A read is repeated until it is complete, or given up.

RemoteStore("s3://bucket/shards")       holds no connection until it is asked, nor across a fork or a pickle
  .open(name) -> RemoteBlob             ranges of a file; small reads in a row become few requests
  .read_whole(name), .download(name, write)     all of it, in one request where nothing goes wrong
  .list(prefix), .size_of(name), .identity_of(name)
"""

from __future__ import annotations

import json
import os
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Any

from ...errors import SourceError
from ...stopping import asking, check_stopped
from .client import Client, Facts, Listed
from .clients import open_client
from .counters import Counters
from .file_read import FileRead
from .remote_blob import RemoteBlob
from .retrying import (
    AbsentError,
    RequestError,
    Retries,
    RetryPolicy,
    Timing,
    named,
    sentence,
)
from .sink import Sink
from .urls import Place, Url, redacted, split_url

__all__ = ["RemoteBlob", "RemoteOptions", "RemoteStore"]

LISTED_AT_ONCE = 1000
"""Objects of a bucket that one answer lists."""
FACTS_SECONDS = 30.0
"""How long what a store said of an object is believed."""
MOST_FACTS = 1 << 14
Page = list[tuple[str, int | None]]
"""Some of the files that a listing gives: paths and bytes."""
DAMAGED = "Copy it there or make it again."


@dataclass(frozen=True)
class RemoteOptions:
    """How a store is reached: when a read is tried again, and settings of the client besides the environment's.

    `storage_options` are obstore's settings for s3, gs and az (`endpoint`, `region`, `client_options`, …), `headers`
    and `verify` for the web, and those of fsspec's file system for any other scheme. The repr leaves them out, because
    they may be secret.
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "storage_options", MappingProxyType(dict(self.storage_options)))

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteOptions, (self.retry, dict(self.storage_options))


class _Live:
    """What one process holds open."""

    def __init__(self) -> None:
        self.pid, self.lock = os.getpid(), threading.Lock()
        self.clients: dict[Place, Client] = {}
        self.facts: dict[str, tuple[Facts, float]] = {}
        self.ignores_ranges: set[Place] = set()


class RemoteStore:
    """The files below a URL, and any other files by their URLs; see `Store`.

    It can be pickled, and used in a forked process: each process makes connections of its own. `timing` is for tests.
    """

    def __init__(
        self, root_url: str, options: RemoteOptions | None = None, *, timing: Timing | None = None
    ) -> None:
        split_url(root_url)
        self.root_url, self.options = root_url, RemoteOptions() if options is None else options
        self.counters = Counters()
        self._sizes: Mapping[str, int] = {}
        self._timing = timing or Timing()
        self._live: _Live | None = None
        self._made_by = os.getpid()

    def with_sizes(self, sizes: Mapping[str, int]) -> RemoteStore:
        """This store, which is not asked how large these files are. A file of another size is refused when read."""
        other = RemoteStore(self.root_url, self.options, timing=self._timing)
        other.counters, other._sizes = self.counters, {**self._sizes, **sizes}
        other._live = self._process()
        return other

    def open(self, name: str) -> RemoteBlob:
        """The blob of a URL; no request where its size is known. Raises `SourceError` if missing."""
        if (size := self._sizes.get(name)) is not None:
            return RemoteBlob(self, name, Facts(size))
        facts = self._facts(name)
        if facts is None:
            raise sentence(name, AbsentError())
        if facts.size is None:
            remedy = "Serve it from another one, or copy it to this machine."
            raise sentence(
                name, RequestError("the server does not say how large it is", passes=False, remedy=remedy)
            )
        return RemoteBlob(self, name, facts)

    def size_of(self, name: str) -> int | None:
        """Bytes of a URL, None if missing. Raises `SourceError` where that cannot be found out."""
        if (size := self._sizes.get(name)) is not None:
            return size
        facts = self._facts(name)
        return None if facts is None else self.open(name).size

    def identity_of(self, name: str) -> str | None:
        """Its tag, size and time of modification as JSON; None if the store gives neither tag nor time."""
        facts = self._facts(name)
        if facts is None or not facts.is_known:
            return None
        url = split_url(name)
        place = f"{url.scheme}://{url.host.rpartition('@')[2]}/{url.path}" if url.is_web else redacted(name)
        return json.dumps([place.removesuffix("?…"), facts.etag, facts.size, facts.modified])

    def read_whole(self, name: str, *, sha256: str = "") -> bytes:
        """All bytes of a URL, in one request. Raises `SourceError`; with `sha256` also for other bytes than those."""
        parts: list[bytes] = []
        self.download(name, parts.append, sha256=sha256, restart=parts.clear)
        return b"".join(parts)

    def find_whole(self, name: str) -> bytes | None:
        """As `read_whole`, None if missing."""
        try:
            return self.read_whole(name)
        except SourceError as error:
            if isinstance(error.__cause__, AbsentError):
                return None
            raise

    def download(
        self,
        name: str,
        write: Callable[[Any], Any],
        *,
        sha256: str = "",
        restart: Callable[[], Any] | None = None,
        copied: bool = True,
    ) -> int:
        """Pass all bytes of a URL to `write`, in order, 1 MiB or more at a time (the last may be less).

        Returns the number of bytes. `write` gets `bytes`; with copied=False it gets views of memory that is used again
        after it returns.

        After a broken connection the read continues where it stopped. `restart` is called when everything has to be
        written again: the bytes do not match `sha256`, or nothing shows that the file is still the same. Without
        `restart` both are errors. Raises `SourceError`; what was written by then is incomplete.
        """
        retries = self._retries(self._sizes.get(name, 0))
        sink = Sink(write, restart, with_digest=bool(sha256), copied=copied)
        with named(name):
            while True:
                self._fetch(name, 0, None, sink, retries, Facts(self._sizes.get(name)))
                if not sha256 or sink.hexdigest() == sha256:
                    return sink.taken
                wrong = "its bytes are not those of its SHA-256"
                retries.after(RequestError(wrong, passes=restart is not None, remedy=DAMAGED))
                sink.restart()

    def list(self, prefix: str = "") -> list[Listed]:
        """All files below a URL (the root where none is given), sorted by name. Raises `SourceError`."""
        text, found = prefix or self.root_url, list[Listed]()
        url = split_url(text)
        begin, mark, rest = text.partition("://")
        before = begin + mark + re.split(r"[/?#]", rest, maxsplit=1)[0]
        after = f"?{url.query}" if url.query else ""
        for page in self._pages(text, _folder_of(url), found.clear):
            found += (Listed(f"{before}/{there}{after}", size) for there, size in page)
        return sorted(found)

    def paths_below(self, prefix: str = "", *, restart: Callable[[], Any]) -> Iterator[Page]:
        """The paths below a URL of all files there, and their bytes, in the order of the store, 1,000 at a time.

        `restart` is called where a listing broke off and begins again. Raises `SourceError`.
        """
        text = prefix or self.root_url
        folder = _folder_of(split_url(text))
        for page in self._pages(text, folder, restart):
            yield [(there.removeprefix(folder.path), size) for there, size in page]

    def _pages(self, text: str, folder: Url, restart: Callable[[], Any]) -> Iterator[Page]:
        """The paths in the bucket, or on the host, of all files below a folder, and their bytes."""
        retries = self._retries()
        with named(text):
            while True:
                self.counters.add(requests=1)
                try:
                    listing = self._client(text, folder).list(folder)
                    page = list(islice(listing, LISTED_AT_ONCE))
                    while page:
                        yield page
                        if page := list(islice(listing, LISTED_AT_ONCE)):
                            self.counters.add(requests=1)
                    return
                except RequestError as error:
                    retries.after(error)
                    restart()

    def supports_ranges(self, name: str) -> bool:
        """False once the server of a URL has twice sent a whole file where a range was asked for."""
        return split_url(name).place not in self._process().ignores_ranges

    def close(self) -> None:
        """Let go of connections; they are made again when something is read."""
        live, self._live = self._live, None
        if live is not None and live.pid == os.getpid():
            for client in live.clients.values():
                client.close()

    def read_range(
        self, name: str, offset: int, length: int, facts: Facts, *, crc32: int | None = None
    ) -> tuple[bytes, Facts]:
        """Bytes of a URL, and what the store says of it now; for blobs. Raises `SourceError`.

        A file that no longer matches `facts` is refused. Bytes that do not match `crc32` are fetched again; if the
        same wrong bytes come twice, the stored file is damaged and the read is given up.
        """
        retries, parts = self._retries(length), list[bytes]()
        before: bytes | None = None
        sink = Sink(parts.append, parts.clear)
        with named(name):
            while True:
                found = self._fetch(name, offset, length, sink, retries, facts)
                content = parts[0] if len(parts) == 1 else b"".join(parts)
                if crc32 is None or zlib.crc32(content) == crc32:
                    return content, found
                wrong = f"the {length:,} bytes from {offset:,} on fail their checksum"
                if content == before:
                    wrong = f"given up after two tries that brought the same: {wrong}"
                retries.after(RequestError(wrong, passes=content != before, remedy=DAMAGED))
                before = content
                sink.restart()

    def _fetch(
        self, name: str, start: int, length: int | None, sink: Sink, retries: Retries, known: Facts
    ) -> Facts:
        """Bytes from `start` on into a sink, in as many requests as it takes. Raises `RequestError`."""
        url = split_url(name)
        client = partial(self._client, name, url)
        ignores_ranges = self._process().ignores_ranges
        found = FileRead(redacted(name), url, start, length, known, client, ignores_ranges, sink, retries).run()
        if found.is_known:
            self._remember(name, found)
        return found

    def _retries(self, num_bytes: int = 0) -> Retries:
        return Retries(self.options.retry, self._timing, num_bytes, counters=self.counters)

    def _facts(self, name: str) -> Facts | None:
        """What the store says of a URL, None if missing."""
        live, now = self._process(), self._timing.clock()
        if (kept := live.facts.get(name)) is not None and now - kept[1] < FACTS_SECONDS:
            return kept[0]
        url, retries = split_url(name), self._retries()
        with named(name):
            while True:
                self.counters.add(requests=1)
                check_stopped(redacted(name))
                try:
                    with asking():
                        facts = self._client(name, url).facts(url)
                    break
                except AbsentError:
                    return None
                except RequestError as error:
                    retries.after(error)
        self._remember(name, facts)
        return facts

    def _remember(self, name: str, facts: Facts) -> None:
        live = self._process()
        with live.lock:
            if len(live.facts) >= MOST_FACTS:
                live.facts.clear()
            live.facts[name] = facts, self._timing.clock()

    def _client(self, name: str, url: Url) -> Client:
        live = self._process()
        with live.lock:
            if url.place not in live.clients:
                options = self.options
                live.clients[url.place] = open_client(name, url, options.retry, options.storage_options)
            return live.clients[url.place]

    def _process(self) -> _Live:
        live = self._live
        if live is None or live.pid != os.getpid():
            live = self._live = _Live()
            if self._made_by != live.pid:  # a fork: its waits are not to be those of its siblings
                self._timing.dice.seed()
        return live

    def __getstate__(self) -> dict[str, Any]:
        return {"root_url": self.root_url, "options": self.options, "sizes": dict(self._sizes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root_url"], state["options"])  # type: ignore[misc]
        self._sizes = state["sizes"]

    def __repr__(self) -> str:
        return f"RemoteStore({redacted(self.root_url)!r})"


def _folder_of(url: Url) -> Url:
    """The same place, with a slash at its end."""
    path = url.path if url.path.endswith("/") or not url.path else url.path + "/"
    return Url(url.scheme, url.host, path, url.query, url.account)
