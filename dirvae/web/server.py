"""A guarded server in a thread, on 127.0.0.1 by default."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import uvicorn
from starlette.routing import Route

from dirvae.web.guard import LOOPBACK_NAMES, MAX_BODY_BYTES, guarded_app
from dirvae.web.waiting import HeadDeadlineProtocol

__all__ = ["RunningServer", "start"]

MAX_CONNECTIONS = 100
STOP_SECONDS = 5.0


@dataclass(frozen=True, eq=False)
class RunningServer:
    """A server that answers until `stop()`; `url` is the address to open, with its token."""

    url: str
    server: uvicorn.Server
    thread: threading.Thread

    def stop(self) -> None:
        """End the server; requests in progress are cut off after a moment. May be called twice."""
        self.server.should_exit = True
        self.thread.join(STOP_SECONDS)

    def wait(self) -> None:
        """Return when the server has ended. `KeyboardInterrupt` passes through."""
        while self.thread.is_alive():
            self.thread.join(0.5)

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def start(
    routes: Sequence[Route],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> RunningServer:
    """Serve the routes, as `guarded_app` does, and return once connections are accepted.

    `host`: a name or address of this machine, or 0.0.0.0 or :: for all of them. `port`: 0 takes a free one. `token`:
    None makes a new one. The thread ends with the process. Raises `OSError` for an address that is taken or unknown.
    """
    token = secrets.token_urlsafe(24) if token is None else token
    listening = _listen(host, port)
    is_everywhere = host in ("0.0.0.0", "::", "")
    names = [*LOOPBACK_NAMES, _in_address(socket.gethostname() if is_everywhere else host).lower()]
    app = guarded_app(routes, token=token, names=names, any_address=is_everywhere, max_body_bytes=max_body_bytes)
    config = uvicorn.Config(
        app,
        http=HeadDeadlineProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="error",  # mistakes of clients are answered, not logged: others must not fill the terminal
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), name="web server", daemon=True)
    thread.start()
    address = f"http://{names[-1]}:{listening.getsockname()[1]}/?token={token}"
    return RunningServer(address, server, thread)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from error
    return listening


def _in_address(host: str) -> str:
    """The host as written in a URL: an IPv6 address in brackets."""
    try:
        return f"[{host}]" if ip_address(host).version == 6 else host
    except ValueError:
        return host
