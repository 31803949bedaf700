"""Checks of a local server on host, origin, token, path and size, before an endpoint runs or a body is read.

A page of another site can send requests to a local port. If that site lets its own name point to 127.0.0.1, the page
could read the answers. Therefore `Host` must hold a known name, an `Origin` must be that of the server, and every
request needs the token of the printed address: first in the address, later in a cookie.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dirvae.web.files import Sentence

__all__ = ["CONTENT_SECURITY_POLICY", "MAX_BODY_BYTES", "guarded_app"]

MAX_BODY_BYTES = 32 << 20
BODY_SECONDS = 60.0
"""How long a body may take to arrive."""

DRAIN_SECONDS = 1.0
"""How long the rest of a refused request is read and dropped: some clients read the answer only after they sent all."""

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Sent with every answer that does not set another policy."""

SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
NO_TOKEN = "Open the address that the program printed; it holds the token of this server."


def guarded_app(
    routes: Sequence[Route],
    *,
    token: str,
    names: Iterable[str] = LOOPBACK_NAMES,
    any_address: bool = False,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> ASGIApp:
    """An application with these routes and nothing else, behind the guard.

    Paths are fixed: a route with a parameter is refused with `ValueError`. `names`: names that `Host` may hold; its
    port is not checked, so that a forwarded port works. `any_address` also allows every numeric address, which
    cannot be the name of another site. Bodies over `max_body_bytes` get 413 and are not read.
    """
    for route in routes:
        if "{" in route.path:
            raise ValueError(f"{route.path!r} has a parameter; a guarded server has fixed paths only.")
    paths = frozenset(route.path for route in routes)
    return _Guard(Starlette(routes=routes), paths, token, frozenset(names), any_address, max_body_bytes)


@dataclass(frozen=True)
class _Guard:
    app: ASGIApp
    paths: frozenset[str]
    token: str
    names: frozenset[str]
    any_address: bool
    max_body_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        gives_token = self._is_token(parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0])
        cookie = f"dirvae_{_split(headers.get('host', ''))[1]}"
        send = _with_headers(
            send, f"{cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/" if gives_token else None
        )
        refusal = self._refusal(scope, headers, cookie, gives_token)
        if refusal is None:
            try:
                receive = await self._read(receive, headers)
            except _TooLargeError:
                limit = self.max_body_bytes / (1 << 20)
                refusal = Sentence(413, f"The file is larger than {limit:g} MiB, the most that this server reads.")
            except TimeoutError:
                refusal = Sentence(408, f"The file did not arrive within {BODY_SECONDS:.0f} seconds.")
            except _DisconnectedError:
                return
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await _refuse(refusal, receive, send)

    def _refusal(self, scope: Scope, headers: Headers, cookie: str, gives_token: bool) -> Sentence | None:
        host = headers.get("host", "")
        if not self._is_known(host):
            return Sentence(
                403, "The name of this server in the request's Host header is not one that it answers to."
            )
        if headers.get("origin", f"http://{host}") != f"http://{host}":
            return Sentence(403, "The request comes from a page of another origin.")
        if scope["path"] not in self.paths:
            return Sentence(404, "There is nothing at this address.")
        given = cookie_parser(headers.get("cookie", "")).get(cookie, "")
        if not gives_token and not self._is_token(given):
            return Sentence(403, NO_TOKEN)
        return None

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.token.encode())

    def _is_known(self, host: str) -> bool:
        name = _split(host)[0]
        if name.lower() in self.names:
            return True
        if not self.any_address:
            return False
        with suppress(ValueError):
            return bool(ip_address(name.strip("[]")))
        return False

    async def _read(self, receive: Receive, headers: Headers) -> Receive:
        """Read the whole body and return it as the `receive` of an endpoint. Raises `_TooLargeError`."""
        announced = headers.get("content-length", "0")
        if not announced.isdigit() or int(announced) > self.max_body_bytes:
            raise _TooLargeError
        body = bytearray()
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _DisconnectedError
                body += message.get("body", b"")
                if len(body) > self.max_body_bytes:
                    raise _TooLargeError
                if not message.get("more_body", False):
                    break
        waiting: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def receive_again() -> Message:
            return waiting.pop() if waiting else await receive()

        return receive_again


def _split(host: str) -> tuple[str, str]:
    """The name and the port of a `Host` header."""
    name, _, port = host.rpartition(":")
    return (name, port) if name and port.isdigit() else (host, "80")


class _TooLargeError(Exception):
    pass


class _DisconnectedError(Exception):
    pass


def _with_headers(send: Send, cookie: str | None) -> Send:
    """Send the security headers with every answer, and the cookie if the request gave the token."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if cookie is not None:
                headers.append("set-cookie", cookie)
        await send(message)

    return send_with_headers


async def _refuse(refusal: Sentence, receive: Receive, send: Send) -> None:
    """Answer at once, then read and drop the rest of the request for a moment: closing now could lose the answer."""
    refusal.headers["connection"] = "close"
    await send({"type": "http.response.start", "status": refusal.status_code, "headers": refusal.raw_headers})
    await send({"type": "http.response.body", "body": bytes(refusal.body), "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    break
    await send({"type": "http.response.body", "body": b"", "more_body": False})
