"""Files of web servers, by Python's own http: it shows `Retry-After`, and every byte when it comes."""

from __future__ import annotations

import base64
import http.client
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from .client import Body, Facts, Piece
from .patient_socket import PatientSocket
from .retrying import (
    DeniedError,
    RangesIgnoredError,
    RequestError,
    RetryPolicy,
    retry_after_seconds,
    status_error,
)
from .urls import Url, redacted

__all__ = ["HttpClient"]

PIECE_BYTES = 1 << 20
LONGEST_PIECE_SECONDS = 0.25
"""After which a piece is handed over that is not full yet."""
MOST_REDIRECTS = 5
MOST_LEFT_BYTES = 64 << 10
"""Of an error's page that are read, so that its connection can be used again."""
MOST_IDLE = 32
CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)")
NO_HEAD = frozenset({400, 401, 403, 405, 501})
"""Answers to HEAD after which GET is tried: an address may be signed for GET alone."""
Host = tuple[str, str]
"""Scheme and host."""


class HttpClient:
    """Files of one host. `headers` are sent with every request to it; `verify` False trusts any certificate."""

    def __init__(
        self,
        url: Url,
        policy: RetryPolicy,
        *,
        headers: Mapping[str, str] | None = None,
        verify: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy, self._clock = policy, clock
        self._lock, self._idle = threading.Lock(), dict[Host, list[http.client.HTTPConnection]]()
        self._buffers: list[bytearray] = []
        user, _, self._host = url.host.rpartition("@")
        self._own = {"Accept-Encoding": "identity", **(headers or {})}
        if user:
            self._own["Authorization"] = "Basic " + base64.b64encode(unquote(user).encode()).decode()
        self._verify, self._proxies = verify, getproxies()
        self._context: ssl.SSLContext | None = None

    def get(self, url: Url, start: int, length: int | None, *, seconds: float, num_bytes: int) -> Body:
        """See `Client.get`."""
        end = None if length is None else start + length
        ranged = start > 0 or end is not None
        headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"} if ranged else {}
        deadline = self._clock() + seconds
        answer, release = self._ask("GET", url, headers, deadline)
        try:
            return Body(*self._parts(answer, start, end, ranged), self._pieces(answer, deadline), release)
        except BaseException:
            release()
            raise

    def facts(self, url: Url) -> Facts:
        """See `Client.facts`; where HEAD is refused, or does not tell the size, by GET of one byte."""
        deadline = self._clock() + self._policy.stall_seconds + self._policy.connect_seconds
        answer, release = self._ask("HEAD", url, {}, deadline, refused=NO_HEAD)
        release()
        length = answer.headers.get("Content-Length", "")
        if answer.status == 200 and length.isascii() and length.isdigit():
            return _facts(answer, int(length))
        answer, release = self._ask("GET", url, {"Range": "bytes=0-0"}, deadline, refused=frozenset({416}))
        try:
            found = CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
            size = int(found[3]) if found and found[3] != "*" else answer.length if answer.status == 200 else None
            return _facts(answer, size)
        finally:
            release()

    def list(self, url: Url) -> Iterator[tuple[str, int | None]]:
        """The files that the page of a folder links to, and those of the folders in it. See `Client.list`."""
        deadline = self._clock() + self._policy.seconds
        waiting, seen = [url.path], {url.path}
        while waiting:
            folder = waiting.pop()
            page = Url(url.scheme, url.host, folder, url.query)
            try:
                answer, release = self._ask("GET", page, {}, deadline)
            except DeniedError as error:
                raise RequestError(
                    f"{error.reason}, and the folder cannot be listed",
                    passes=False,
                    remedy="Name its tars as in shard-{000..031}.tar, or pack with a manifest.",
                ) from error
            try:
                text = b"".join(map(bytes, self._pieces(answer, deadline))).decode("utf-8", "replace")
            finally:
                release()
            if "html" not in answer.headers.get("Content-Type", ""):
                raise RequestError(
                    "the server shows no page that lists the folder",
                    passes=False,
                    remedy="Name the files, by a list or a pattern with braces, or put a manifest beside them.",
                )
            links = _Links()
            links.feed(text)
            for link in links.found:
                try:
                    there = urlsplit(urljoin(f"{url.scheme}://{self._host}/{folder}", link))
                except ValueError:
                    continue  # no address
                path = there.path.lstrip("/")
                if there.netloc != self._host or there.query or path in seen or not path.startswith(folder):
                    continue
                seen.add(path)
                if path.endswith("/"):
                    waiting.append(path)
                else:
                    yield path, None

    def close(self) -> None:
        """See `Client.close`."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def __del__(self) -> None:
        if hasattr(self, "_idle"):
            self.close()

    def _parts(
        self, answer: http.client.HTTPResponse, start: int, end: int | None, ranged: bool
    ) -> tuple[Facts, int]:
        """What an answer says of the object, and where its bytes begin."""
        if answer.status == 200:
            whole = answer.length
            if start > 0 or (end is not None and (whole is None or whole > end)):
                raise RangesIgnoredError
            return _facts(answer, whole), 0
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
        return _facts(answer, None if found[3] == "*" else int(found[3])), first

    def _pieces(self, answer: http.client.HTTPResponse, deadline: float) -> Iterator[Piece]:
        """The bytes as they come, in pieces of memory that is used again: fresh memory costs page faults."""
        buffer = self._buffers.pop() if self._buffers else bytearray(PIECE_BYTES)
        view, failure = memoryview(buffer), None
        is_over = False
        while not is_over and failure is None:
            num, began = 0, self._clock()
            while num < len(view) and (now := self._clock()) < began + LONGEST_PIECE_SECONDS:
                if now > deadline:
                    failure = RequestError("the bytes came too slowly", passes=True)
                    break
                try:
                    came = _receive(answer, view[num:])
                except (OSError, http.client.HTTPException, ValueError) as error:
                    failure = self._failure(error)
                    failure.__cause__ = error
                    break
                num += came
                if not came:
                    is_over = True
                    break
            if num:
                yield view[:num]
        if len(self._buffers) < MOST_IDLE:
            self._buffers.append(buffer)
        if failure is not None:
            raise failure

    def _ask(
        self,
        method: str,
        url: Url,
        headers: dict[str, str],
        deadline: float,
        *,
        refused: frozenset[int] = frozenset(),
    ) -> tuple[http.client.HTTPResponse, Callable[[], None]]:
        """An answer of 2xx, or one of those in `refused`, and what gives its connection back."""
        scheme, host, target = url.scheme, self._host, _target(url)
        for _ in range(MOST_REDIRECTS + 1):
            own = self._own if host == self._host else {"Accept-Encoding": "identity"}
            connection, answer = self._exchange(method, (scheme, host), target, {**own, **headers}, deadline)
            release = partial(self._release, (scheme, host), connection, answer)
            if answer.status in refused or 200 <= answer.status < 300:
                return answer, release
            location = answer.headers.get("Location")
            release()
            if answer.status not in (301, 302, 303, 307, 308) or not location:
                after = retry_after_seconds(answer.headers.get("Retry-After"))
                raise status_error(answer.status, url.scheme, retry_after=after, is_signed=bool(url.query))
            try:
                there = urlsplit(urljoin(f"{scheme}://{host}{target}", location))
            except ValueError as error:
                raise self._failure(error) from error
            if there.scheme not in ("http", "https") or (scheme == "https" and there.scheme == "http"):
                where = redacted(f"{there.scheme}://{there.netloc}")
                raise RequestError(
                    f"it leads on to {where}, which is not safe", passes=False, remedy="Name the right address."
                )
            scheme, host = there.scheme, there.netloc.rpartition("@")[2]
            target = (there.path or "/") + (f"?{there.query}" if there.query else "")
        raise RequestError(
            f"it leads on more than {MOST_REDIRECTS} times", passes=False, remedy="Name the right address."
        )

    def _exchange(
        self, method: str, host: Host, target: str, headers: dict[str, str], deadline: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """One request and the head of its answer; a connection that the server closed meanwhile is made again."""
        while True:
            with self._lock:
                idle = self._idle.get(host)
                connection = idle.pop() if idle else None
            is_fresh = connection is None
            if connection is None:
                try:
                    connection, target = self._connect(host, target)
                except (http.client.InvalidURL, ValueError) as error:
                    raise self._failure(error) from error
            left = max(0.01, min(self._policy.stall_seconds, deadline - self._clock()))
            try:
                if connection.sock is None:
                    connection.connect()
                    made: Any = connection.sock
                    connection.sock = PatientSocket(made)
                connection.sock.settimeout(left)
                connection.request(method, target, headers=headers)
                return connection, connection.getresponse()
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                if is_fresh or isinstance(error, TimeoutError):
                    raise self._failure(error) from error
            except BaseException:
                connection.close()
                raise

    def _connect(self, host: Host, target: str) -> tuple[http.client.HTTPConnection, str]:
        """A new connection, by a proxy where the environment names one, and what is asked for over it."""
        scheme, name = host
        seconds = self._policy.connect_seconds
        proxy = None if proxy_bypass(urlsplit(f"//{name}").hostname or "") else self._proxies.get(scheme)
        via = (
            urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc.rpartition("@")
            if proxy
            else ("", "", "")
        )
        address = via[2] or name
        connection: http.client.HTTPConnection
        if scheme == "https":
            if self._context is None:
                self._context = ssl.create_default_context() if self._verify else ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(address, timeout=seconds, context=self._context)
        else:
            connection = http.client.HTTPConnection(address, timeout=seconds)
        if via[2]:
            pass_word = "Basic " + base64.b64encode(unquote(via[0]).encode()).decode()
            extra = {"Proxy-Authorization": pass_word} if via[0] else {}
            if scheme == "https":
                connection.set_tunnel(name, headers=extra)
            else:
                target = f"http://{name}{target}"
        return connection, target

    def _release(
        self, host: Host, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse
    ) -> None:
        """Keep a connection for the next request where its answer was read to its end, or soon is."""
        left = None if answer.isclosed() else answer.length
        try:
            if left == 0 or (left is not None and answer.status >= 300 and left <= MOST_LEFT_BYTES):
                answer.read()  # closes it, where nothing is left too
        except (OSError, http.client.HTTPException, ValueError):
            pass
        is_reusable = answer.isclosed() and not answer.will_close and not self._proxies
        answer.close()
        with self._lock:
            kept = self._idle.setdefault(host, [])
            if is_reusable and connection.sock is not None and len(kept) < MOST_IDLE:
                kept.append(connection)
                return
        connection.close()

    def _failure(self, error: Exception) -> RequestError:
        if isinstance(error, TimeoutError):
            return RequestError(f"nothing came for {self._policy.stall_seconds:g} seconds", passes=True)
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


class _Links(HTMLParser):
    """The targets of the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        """Keep where a link leads to."""
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _receive(answer: http.client.HTTPResponse, view: memoryview) -> int:
    """What is there of an answer's body, at least a byte of it, into a buffer; 0 at its end."""
    if answer.chunked or answer.length is None:
        piece = answer.read1(len(view))
        view[: len(piece)] = piece
        return len(piece)
    if not answer.length or answer.fp is None:
        return 0
    num = answer.fp.readinto1(view[: answer.length])  # HTTPResponse.readinto would lose what comes before a break
    answer.length -= num
    return num


def _target(url: Url) -> str:
    return f"/{url.path}" + (f"?{url.query}" if url.query else "")


def _facts(answer: http.client.HTTPResponse, size: int | None) -> Facts:
    return Facts(size, answer.headers.get("ETag"), answer.headers.get("Last-Modified"))
