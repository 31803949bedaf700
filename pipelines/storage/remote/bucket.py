"""The folder of a bucket that is written to: every request is repeated until it succeeds, or is given up.

    Bucket("s3://bucket/set")
      .create(name, content), .replace(name, content, expected)    conditional: a `ConflictError` if others were faster
      .upload(name, file)                                     in parts, whose checksums are compared afterwards
      .copy(name, target)                                     within the bucket
      .read, .stored, .listed, .listed_level, .delete

An upload is checked in three ways. The SHA-256 of each part goes with it, where the store compares it (S3). The size
that the bucket gives is compared. Its tag is compared with the MD5 of the content, or the MD5 of the MD5s of the
parts; a tag that is neither, as with server-side encryption by KMS, proves nothing: the object is then read back once,
and its SHA-256 compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import IO, Any, TypeVar

from ...errors import SourceError
from .bucket_client import BucketClient, ConflictError, Stored, open_bucket_client
from .per_process import PerProcess
from .remote_store import RemoteOptions, RemoteStore
from .retrying import AbsentError, RequestError, Retries, Timing, named
from .sent_parts import SentParts, part_bytes
from .unfinished_uploads import abort_unfinished, find_signer
from .urls import Url, join, redacted, split_url

__all__ = ["Bucket", "Stored"]

COPIED_BYTES = 5 << 30
"""The largest object that S3 copies in one request."""
DELETED_AT_ONCE = 1000

T = TypeVar("T")


class Bucket:
    """The objects below a URL, by their names there. Methods raise `SourceError`, in one sentence.

    It can be pickled, and used from many threads. Each process connects for itself.
    """

    def __init__(
        self, root_url: str, options: RemoteOptions | None = None, *, timing: Timing | None = None
    ) -> None:
        self.root_url, self.options = root_url.rstrip("/"), options or RemoteOptions()
        url = split_url(self.root_url)
        self._url, self._folder = url, url.path.strip("/")
        self._timing, self._client = timing or Timing(), PerProcess(self._connect)

    @property
    def shown(self) -> str:
        """The URL as it may be shown."""
        return redacted(self.root_url)

    def url_of(self, name: str) -> str:
        """The URL of an object."""
        return join(self.root_url, name)

    def read(self, name: str) -> tuple[bytes, Stored] | None:
        """All bytes of an object, and what the bucket says of it; None if missing."""
        return self._found(name, lambda client: client.read(self._path(name)))

    def download(self, name: str, write: Callable[[bytes], Any]) -> int:
        """Pass all bytes of an object to `write`, in order; returns their number."""
        return RemoteStore(self.root_url, self.options).download(self.url_of(name), write)

    def stored(self, name: str) -> Stored | None:
        """What the bucket says of an object; None if missing."""
        return self._found(name, lambda client: client.stored(self._path(name)))

    def modified(self, name: str) -> datetime | None:
        """When an object was written last, by the clock of the bucket; None if missing or not known."""
        url = Url(self._url.scheme, self._url.host, self._path(name))
        facts = self._found(name, lambda client: client.facts(url))
        return None if facts is None or facts.modified is None else datetime.fromisoformat(facts.modified)

    def listed(self, folder: str) -> dict[str, Stored]:
        """All objects below a folder, by their names in it."""
        return self._tried(folder, lambda client: client.listed(self._path(folder)))

    def listed_level(self) -> dict[str, Stored]:
        """The objects directly below the URL, by their names."""
        return self._tried("", lambda client: client.listed_level(self._folder))

    def write(self, name: str, content: bytes) -> Stored:
        """Write a small object, in the place of any other."""
        return self._tried(name, lambda client: client.put(self._path(name), content))

    def create(self, name: str, content: bytes) -> Stored | None:
        """Write a small object that is not there yet; None if it is."""
        return self._conditional(name, content, create=True)

    def replace(self, name: str, content: bytes, expected: Stored) -> Stored | None:
        """Write a small object in the place of `expected`; None if that is not there any more."""
        return self._conditional(name, content, expected=expected)

    def _conditional(self, name: str, content: bytes, **condition: Any) -> Stored | None:
        tries = [0]

        def put(client: BucketClient) -> Stored:
            tries[0] += 1
            return client.put(self._path(name), content, **condition)

        try:
            return self._tried(name, put)
        except SourceError as error:
            if not isinstance(error.__cause__, ConflictError):
                raise
        if tries[0] > 1 and (there := self.read(name)) is not None and there[0] == content:
            return there[1]  # an earlier try was served, and its answer was lost
        return None

    def upload(self, name: str, file: IO[bytes], sha256: str = "") -> Stored:
        """Write an object from a file, of any size, and check what is there; memory stays below 64 MiB.

        With `sha256` also that the file still holds those bytes.
        """
        size = file.seek(0, os.SEEK_END)
        return self._tried(name, lambda client: self._upload(client, name, file, size, sha256), size)

    def _upload(self, client: BucketClient, name: str, file: IO[bytes], size: int, sha256: str) -> Stored:
        file.seek(0)
        path, sent = self._path(name), SentParts(file, part_bytes(size))
        if size <= sent.part_bytes:
            tag = client.put(path, b"".join(sent)).tag
        else:
            tag = client.put_parts(path, sent, sent.part_bytes)
        if sent.bytes != size or sha256 not in ("", sent.sha256):
            raise RequestError(
                "the temporary file holds other bytes than were written to it",
                passes=False,
                remedy="Test the disk.",
            )
        there = client.stored(path)
        if there.size == size and (sent.has_tag(there.tag) or self._read_back(client, path) == sent.sha256):
            return there
        raise RequestError(
            f"it holds other bytes than were sent ({there.size:,} of {size:,}, tag {there.tag or tag})",
            passes=True,
            remedy="Look at the network and the store.",
        )

    def _read_back(self, client: BucketClient, path: str) -> str:
        found = hashlib.sha256()
        url = Url(self._url.scheme, self._url.host, path)
        for piece in client.get(url, 0, None, seconds=self.options.retry.seconds, num_bytes=COPIED_BYTES).pieces:
            found.update(piece)
        return found.hexdigest()

    def copy(self, name: str, target: str, size: int | None = None) -> Stored:
        """Copy an object within the bucket; what the bucket says of the copy. `size` is given for large ones."""

        def copy(client: BucketClient) -> Stored:
            source, path = self._path(name), self._path(target)
            if size is None or size < COPIED_BYTES:
                client.copy(source, path, size or 0)
            else:
                url = Url(self._url.scheme, self._url.host, source)
                body = client.get(url, 0, None, seconds=self.options.retry.seconds_for(size), num_bytes=size)
                client.put_parts(path, map(bytes, body.pieces), part_bytes(size))
            there = client.stored(path)
            if size is not None and there.size != size:
                raise RequestError(f"its copy has {there.size:,} bytes, not {size:,}", passes=True)
            return there

        return self._tried(target, copy, size or 0)

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; objects that are missing already are passed over."""
        paths = [self._path(name) for name in names]
        for start in range(0, len(paths), DELETED_AT_ONCE):
            some = paths[start : start + DELETED_AT_ONCE]
            self._tried("", lambda client, some=some: client.delete(some))  # type: ignore[misc]

    def abort_uploads(self, names: re.Pattern[str]) -> None:
        """Abort uploads in parts that killed processes left, of objects whose names match; failures are passed over.

        Such uploads block no object. A lifecycle rule of the bucket may remove them too.
        """
        with contextlib.suppress(OSError):
            if (signer := find_signer(self._url, self.options.storage_options)) is not None:
                abort_unfinished(signer, self._folder, names)

    def _found(self, name: str, ask: Callable[[BucketClient], T]) -> T | None:
        """The answer of `_tried`; None for an object that is missing, in a bucket that is there."""
        try:
            return self._tried(name, ask)
        except SourceError as error:
            if isinstance(error.__cause__, AbsentError):
                return None
            raise

    def _tried(self, name: str, ask: Callable[[BucketClient], T], num_bytes: int = 0) -> T:
        retries = Retries(self.options.retry, self._timing, num_bytes)
        with named(self.url_of(name) if name else self.root_url):
            while True:
                try:
                    return ask(self._client.get())
                except RequestError as error:
                    retries.after(error)

    def _connect(self) -> BucketClient:
        return open_bucket_client(self._url, self.options.retry, self.options.storage_options)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}".strip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return Bucket, (self.root_url, self.options)

    def __repr__(self) -> str:
        return f"Bucket({self.shown!r})"
