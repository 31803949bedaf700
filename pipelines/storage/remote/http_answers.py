"""What an answer of a web server holds: facts of the object, its bytes, the links of a page, or a failure."""

from __future__ import annotations

import http.client
import re
import ssl
from html.parser import HTMLParser
from typing import Any

from .client import Facts
from .retrying import RangesIgnoredError, RequestError

__all__ = ["content_of", "facts_of", "failure_of", "links_of", "receive", "size_of"]

CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)")


def facts_of(answer: http.client.HTTPResponse, size: int | None) -> Facts:
    """The tag and time of an object of `size` bytes."""
    return Facts(size, answer.headers.get("ETag"), answer.headers.get("Last-Modified"))


def size_of(answer: http.client.HTTPResponse) -> int | None:
    """Bytes of the whole object, by the answer to a request for one byte of it; None if it does not say."""
    found = CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
    if found and found[3] != "*":
        return int(found[3])
    return answer.length if answer.status == 200 else None


def content_of(answer: http.client.HTTPResponse, start: int, end: int | None, *, ranged: bool) -> tuple[Facts, int]:
    """What an answer says of the object, and at which byte of it its content begins.

    Bytes `start` up to `end` (None: to the last one) were asked for, by a range or not. Raises `RangesIgnoredError` for
    all bytes instead of a range, `RequestError` for any others.
    """
    if answer.status == 200:
        whole = answer.length
        if start > 0 or (end is not None and (whole is None or whole > end)):
            raise RangesIgnoredError
        return facts_of(answer, whole), 0
    found = CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
    if answer.status != 206 or not ranged or found is None or found[1] is None:
        raise RequestError(
            f"the server answers {answer.status} without saying which bytes it sends",
            passes=False,
            remedy="Serve it from another one.",
        )
    first, last = int(found[1]), int(found[2])
    is_length_wrong = answer.length is not None and answer.length != last - first + 1
    if first != start or (end is not None and last >= end) or is_length_wrong:
        raise RequestError(f"bytes {first:,} to {last:,} came, which were not asked for", passes=True)
    return facts_of(answer, None if found[3] == "*" else int(found[3])), first


def receive(answer: http.client.HTTPResponse, view: memoryview) -> int:
    """Read what has come of a body into a buffer, at least one byte; returns the number of bytes, 0 at the end."""
    if answer.chunked or answer.length is None:
        piece = answer.read1(len(view))
        view[: len(piece)] = piece
        return len(piece)
    if not answer.length or answer.fp is None:
        return 0
    num = answer.fp.readinto1(view[: answer.length])  # HTTPResponse.readinto would lose what comes before a break
    answer.length -= num
    return num


def links_of(page: str) -> list[str]:
    """The targets of the links of an HTML page."""
    links = _Links()
    links.feed(page)
    return links.found


class _Links(HTMLParser):
    """Collects the targets of links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        """Keep where a link leads to."""
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def failure_of(error: Exception, stall_seconds: float) -> RequestError:
    """An error of Python's http in words of our own, which hold no URL."""
    if isinstance(error, TimeoutError):
        return RequestError(f"nothing came for {stall_seconds:g} seconds", passes=True)
    if isinstance(error, ssl.SSLCertVerificationError):
        return RequestError(
            f"its certificate is not trusted ({error.verify_message})",
            passes=False,
            remedy="Name the authority's certificates by SSL_CERT_FILE.",
        )
    if isinstance(error, http.client.InvalidURL | UnicodeError | ValueError):
        return RequestError(
            "not an address that can be asked for",
            passes=False,
            remedy="Percent-encode what is no ASCII in it.",
        )
    words = error.strerror if isinstance(error, OSError) else None
    return RequestError(f"the connection broke ({words or type(error).__name__})", passes=True)
