"""Files of web servers, by Python's own http: it shows `Retry-After`, and every byte when it comes."""

from __future__ import annotations

import base64
import http.client
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from .client import Body, Facts, Piece
from .http_answers import content_of, facts_of, failure_of, links_of, receive, size_of
from .patient_socket import PatientSocket
from .retrying import (
    DeniedError,
    RequestError,
    RetryPolicy,
    retry_after_seconds,
    status_error,
)
from .urls import Url, redacted

__all__ = ["HttpClient"]

PIECE_BYTES = 1 << 20
LONGEST_PIECE_SECONDS = 0.25
"""After this time a piece is handed over even if it is not full."""
MOST_REDIRECTS = 5
MOST_LEFT_BYTES = 64 << 10
"""So much of an error page is read, so that its connection can be used again."""
MOST_IDLE = 32
NO_HEAD = frozenset({400, 401, 403, 405, 501})
"""Answers to HEAD after which GET is tried: an address may be signed for GET alone."""
Host = tuple[str, str]
"""Scheme and host."""


class HttpClient:
    """Files of one host. `headers` are sent with every request to it; verify=False trusts any certificate."""

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
            return Body(*content_of(answer, start, end, ranged=ranged), self._pieces(answer, deadline), release)
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
            return facts_of(answer, int(length))
        answer, release = self._ask("GET", url, {"Range": "bytes=0-0"}, deadline, refused=frozenset({416}))
        try:
            return facts_of(answer, size_of(answer))
        finally:
            release()

    def list(self, url: Url) -> Iterator[tuple[str, int | None]]:
        """The files that the page of a folder links to, and those of the folders in it. See `Client.list`."""
        deadline = self._clock() + self._policy.seconds
        waiting, seen = [url.path], {url.path}
        while waiting:
            folder = waiting.pop()
            page = Url(url.scheme, url.host, folder, url.query)
            for link in links_of(self._page(page, deadline)):
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

    def _page(self, page: Url, deadline: float) -> str:
        """The page that lists a folder. Raises `RequestError` if there is none."""
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
        return text

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
                    came = receive(answer, view[num:])
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
        return failure_of(error, self._policy.stall_seconds)


def _target(url: Url) -> str:
    return f"/{url.path}" + (f"?{url.query}" if url.query else "")
