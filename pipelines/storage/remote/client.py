"""What a client of a store does: one request at a time, without retries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .urls import Url

__all__ = ["Body", "Client", "Facts", "Listed", "Piece"]

Piece = bytes | memoryview
"""Bytes of an answer; a view may be of memory that is used again for the next one."""


@dataclass(frozen=True)
class Facts:
    """What a store says of an object: size in bytes, tag and time of modification; None if it does not say."""

    size: int | None
    etag: str | None = None
    modified: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether a change would be noticed."""
        return bool(self.etag or self.modified)

    def is_same(self, other: Facts) -> bool:
        """Whether nothing says that the object was changed in between."""
        sizes = self.size is None or other.size is None or self.size == other.size
        if self.etag and other.etag:
            return sizes and self.etag == other.etag
        return sizes and (not self.modified or not other.modified or self.modified == other.modified)


class Listed(NamedTuple):
    """A file below a prefix: its URL, and its size in bytes, None if the store does not say."""

    name: str
    size: int | None


@dataclass
class Body:
    """An answer: what it says of the object, and its bytes from `start` on as they come.

    `pieces` raises `RequestError` if the connection breaks; an answer that ends too early is not noticed here. A piece
    is valid until the next one is requested. `close` returns the connection, or ends it if bytes are left.
    """

    facts: Facts
    start: int
    pieces: Iterator[Piece]
    close: Callable[[], None]


class Client(Protocol):
    """Requests to one bucket or host. All methods are safe to use from many threads, and raise `RequestError`.

    A client belongs to the process that made it.
    """

    def get(self, url: Url, start: int, length: int | None, *, seconds: float, num_bytes: int) -> Body:
        """Bytes from `start` on, `length` of them or all: one request, in `seconds` at most.

        `num_bytes` is the size of the whole read that the request is part of; a client may set time limits by it.
        Raises `RangesIgnoredError` if all bytes come although a part was requested.
        """

    def facts(self, url: Url) -> Facts:
        """What the store says of an object, without its bytes. Raises `AbsentError`."""

    def list(self, url: Url) -> Iterator[tuple[str, int | None]]:
        """The paths of all objects below a prefix that ends with a slash, and their bytes."""

    def close(self) -> None:
        """Let go of connections."""
