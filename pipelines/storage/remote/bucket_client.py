"""Objects of a bucket written by obstore: one attempt each, without retries; reading is that of `ObstoreClient`.

A conditional write is one request whose answer says whether the condition held. An upload of parts reads its content
piece by piece, keeps at most `PARTS_AT_ONCE` of them in memory, and is aborted by obstore if one cannot be sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .obstore_client import ObstoreClient, check_endpoints, is_obstore_usable
from .retrying import AbsentError, RequestError, RetryPolicy
from .urls import Url

__all__ = ["PARTS_AT_ONCE", "BucketClient", "ConflictError", "Stored", "open_bucket_client"]

PARTS_AT_ONCE = 4
WRITABLE = ("s3", "gs", "az")


class Stored(NamedTuple):
    """What a bucket says of an object: its bytes, its tag, and its version, empty if it gives none.

    Azure writes a tag with quotation marks or without, by the request; compare with `plain_tag`.
    """

    size: int
    tag: str = ""
    version: str = ""

    @property
    def plain_tag(self) -> str:
        """The tag without quotation marks."""
        return self.tag.strip('"')


class ConflictError(RequestError):
    """The condition of a write does not hold: the object is there already, or is another one by now."""

    def __init__(self) -> None:
        super().__init__("another run has written it meanwhile", passes=False, remedy="Look at what is there.")


class BucketClient(ObstoreClient):
    """Reads and writes the objects of one bucket. All methods raise `RequestError`."""

    def put(self, path: str, content: bytes, *, expected: Stored | None = None, create: bool = False) -> Stored:
        """Write an object in one request; with `create` only a new one, with `expected` only in the place of that one.

        Raises `ConflictError` where the condition does not hold.
        """
        import obstore

        mode: Any = "create" if create else "overwrite" if expected is None else self._condition(expected)
        store = self._store(len(content))
        is_conditional = create or expected is not None

        def ask() -> Any:
            return obstore.put(store, path, content, mode=mode, use_multipart=False)

        answer = self._asked(lambda: _or_conflict(ask) if is_conditional else ask())
        return _stored({**answer, "size": len(content)})

    def _condition(self, expected: Stored) -> dict[str, str]:
        """Google compares the version of an object, all others its tag."""
        return {"version": expected.version} if self._url.scheme == "gs" else {"e_tag": expected.tag}

    def read(self, path: str) -> tuple[bytes, Stored]:
        """All bytes of an object, and what the bucket says of it. Raises `AbsentError`."""
        import obstore

        answer = self._asked(lambda: obstore.get(self._store(0), path))
        return bytes(self._asked(answer.bytes)), _stored(answer.meta)

    def put_parts(self, path: str, parts: Iterable[bytes], part_bytes: int) -> str:
        """Write an object in parts of `part_bytes` each, the last may be less; returns its tag."""
        import obstore

        store = self._store(part_bytes * PARTS_AT_ONCE)
        settings: dict[str, Any] = {"use_multipart": True, "chunk_size": part_bytes}
        answer = self._asked(lambda: obstore.put(store, path, parts, max_concurrency=PARTS_AT_ONCE, **settings))
        return answer["e_tag"] or ""

    def copy(self, path: str, target: str, num_bytes: int) -> None:
        """Copy an object within the bucket, whose bytes stay there."""
        import obstore

        self._asked(lambda: obstore.copy(self._store(num_bytes), path, target))

    def delete(self, paths: Sequence[str]) -> None:
        """Remove objects; objects that are missing already are passed over."""
        import obstore

        store = self._store(0)
        try:
            self._asked(lambda: obstore.delete(store, list(paths)))
        except AbsentError:
            for path in paths if len(paths) > 1 else ():
                self.delete([path])

    def stored(self, path: str) -> Stored:
        """What the bucket says of an object. Raises `AbsentError`."""
        import obstore

        return _stored(self._asked(lambda: obstore.head(self._store(0), path)))

    def listed(self, folder: str) -> dict[str, Stored]:
        """All objects below a folder, by their names in it."""
        import obstore

        found, pages = {}, iter(obstore.list(self._store(0), folder or None, chunk_size=1000))
        while (page := self._asked(lambda: next(pages, None))) is not None:
            for entry in page:
                found[entry["path"].removeprefix(f"{folder}/")] = _stored(entry)
        return found

    def listed_level(self, folder: str) -> dict[str, Stored]:
        """The objects directly in a folder, by their names in it."""
        import obstore

        answer = self._asked(lambda: obstore.list_with_delimiter(self._store(0), folder or None))
        objects = answer["objects"]
        return {one["path"].rpartition("/")[2]: _stored(one) for one in objects}


def _stored(meta: Any) -> Stored:
    return Stored(int(meta["size"]), meta["e_tag"] or "", meta["version"] or "")


def _or_conflict(ask: Callable[[], Any]) -> Any:
    """The answer of a conditional write. Raises `ConflictError`."""
    try:
        return ask()
    except Exception as error:
        text = str(error)
        if "ConditionalRequestConflict" in text:
            raise RequestError("another write to it is in progress", passes=True) from error
        if type(error).__name__ in ("AlreadyExistsError", "PreconditionError"):
            raise ConflictError from error
        if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in text:
            raise ConflictError from error
        raise


def open_bucket_client(url: Url, policy: RetryPolicy, settings: Mapping[str, Any]) -> BucketClient:
    """A client that can write to the bucket of a URL. Raises `RequestError` where that cannot be."""
    if url.scheme not in WRITABLE:
        remedy = "Name a folder, or an address of s3://, gs:// or az://."
        raise RequestError(f"{url.scheme}:// cannot be packed into", passes=False, remedy=remedy)
    if not is_obstore_usable():
        remedy = "Run pip install 'dirvae[cloud]'."
        raise RequestError("packing into a bucket needs obstore", passes=False, remedy=remedy)
    check_endpoints(url.scheme, settings)
    if url.scheme == "s3" and not {name.lower() for name in (*settings, *os.environ)} & CHECKSUM_SETTINGS:
        settings = {**settings, "checksum_algorithm": "SHA256"}
    return BucketClient(url, policy, settings)


CHECKSUM_SETTINGS = {"checksum_algorithm", "aws_checksum_algorithm"}
