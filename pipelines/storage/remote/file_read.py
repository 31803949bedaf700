"""One read of a remote file: its bytes into a sink, in as many requests as that takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...stopping import asking, check_stopped
from .client import Body, Client, Facts
from .retrying import RangesIgnoredError, RequestError, Retries
from .sink import Sink
from .urls import Place, Url

__all__ = ["FileRead"]


@dataclass
class FileRead:
    """The bytes of a file from `start` on: `length` of them, or all if None.

    name            what errors may show of the URL
    known           what is known of the file so far; an answer that contradicts it is refused
    client          gives the client; called before each request
    ignores_ranges  places whose servers send whole files; this file's is added after it has done so twice
    """

    name: str
    url: Url
    start: int
    length: int | None
    known: Facts
    client: Callable[[], Client]
    ignores_ranges: set[Place]
    sink: Sink
    retries: Retries

    def run(self) -> Facts:
        """Fetch all of it; returns what the store says of the file now. Raises `RequestError`, `StoppedError`."""
        sink, retries = self.sink, self.retries
        is_whole, was_ignored = self.start == 0 and self.length in (None, self.known.size), False
        while True:
            try:
                check_stopped(self.name)
                with asking():
                    self._try()
                if self.length is None or sink.taken == self.length:
                    break
                cut_off = f"cut off after {sink.taken:,} of {self.length:,} bytes"
                retries.after(RequestError(cut_off, passes=True))
            except RangesIgnoredError as error:
                if was_ignored:
                    self.ignores_ranges.add(self.url.place)
                    if not is_whole:
                        raise
                else:  # it may have been this once
                    retries.after(RequestError(error.reason, passes=True, remedy=error.remedy))
                    was_ignored = True
            except RequestError as error:
                retries.after(error)
            if sink.taken and not self.known.is_known:
                sink.restart()  # nobody knows whether it is still the same file
        sink.flush()
        return self.known

    def _try(self) -> None:
        """One request for what is missing."""
        retries, taken = self.retries, self.sink.taken
        retries.counters.add(requests=1)
        retries.num_bytes = max(retries.num_bytes, self.length or 0)
        by_range = self.url.place not in self.ignores_ranges
        first = self.start + taken if by_range else 0
        left = self.length - taken if self.length is not None and by_range else None
        seconds = max(0.1, retries.seconds_left)
        body = self.client().get(self.url, first, left, seconds=seconds, num_bytes=retries.num_bytes)
        try:
            self.known = _checked(self.known, body.facts)
            if self.length is None and self.known.size is not None:
                self.length = self.known.size - self.start
                retries.num_bytes = max(retries.num_bytes, self.length)
            self._take(body)
        finally:
            body.close()

    def _take(self, body: Body) -> None:
        """Put the missing bytes of an answer into the sink; skip those before and after them."""
        position = body.start
        for piece in body.pieces:
            check_stopped("a read")
            self.retries.received += len(piece)
            self.retries.counters.add(num_bytes=len(piece))
            begin = self.start + self.sink.taken - position
            end = len(piece) if self.length is None else min(len(piece), self.start + self.length - position)
            position += len(piece)
            if begin < end:
                self.sink.take(piece if begin == 0 and end == len(piece) else piece[begin:end])
            if self.retries.seconds_left < 0:
                raise RequestError("the bytes came too slowly", passes=True)


def _checked(known: Facts, found: Facts) -> Facts:
    """What is known of a file after an answer. Raises `RequestError` if it is another file."""
    if not known.is_same(found):
        sizes = known.size != found.size and found.size is not None and known.size is not None
        what = f"has {found.size:,} bytes, and not {known.size:,}" if sizes else "was changed while it was read"
        raise RequestError(
            f"it {what}: it was replaced or is cut off",
            passes=False,
            remedy="Copy it there again, or open it again.",
        )
    size = known.size if found.size is None else found.size
    return Facts(size, found.etag or known.etag, found.modified or known.modified)
