"""What a client of a store does: ask once, and say how it went. Trying again is not its business."""

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
    """What a store says of an object: its bytes, and what changes with them. None where it does not say."""

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
    """A file below a prefix: its URL, and its bytes where the store says so."""

    name: str
    size: int | None


@dataclass
class Body:
    """An answer: what it says of the object, and its bytes from `start` on as they come.

    `pieces` raises `RequestError` where they stop coming; fewer of them than were asked for is not noticed here. A
    piece holds until the next one is asked for.
    `close` gives the connection back, or ends it where bytes are left.
    """

    facts: Facts
    start: int
    pieces: Iterator[Piece]
    close: Callable[[], None]


class Client(Protocol):
    """Requests to one place: a bucket, or a host. All of them may be asked from many threads, and raise `RequestError`.

    A client belongs to the process that made it.
    """

    def get(self, url: Url, start: int, length: int | None, *, seconds: float, num_bytes: int) -> Body:
        """Bytes from `start` on, `length` of them or all: one request, in `seconds` at most.

        `num_bytes` is what the read that it is part of has, for settings that are made once for reads of one size.
        Raises `RangesIgnoredError` where all bytes come and not all were asked for.
        """

    def facts(self, url: Url) -> Facts:
        """What the store says of an object, without its bytes. Raises `AbsentError`."""

    def list(self, url: Url) -> Iterator[tuple[str, int | None]]:
        """The paths of all objects below a prefix that ends with a slash, and their bytes."""

    def close(self) -> None:
        """Let go of connections."""
