"""A web server on this machine whose files are given as bytes: with ranges, tags, pages of folders, and bad habits."""

from __future__ import annotations

import re
import threading
import zlib
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote

__all__ = ["LocalServer", "WebServer"]

MODIFIED = "Sat, 05 Sep 2026 10:00:00 GMT"


class QuietServer(ThreadingHTTPServer):
    """A server that says nothing of clients that hang up; each is served by a thread that ends with the process."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: what a test is about is seen by the client."""


class LocalServer:
    """A running server of this machine, at `url`, until `close`."""

    def __init__(self, handler: type[BaseHTTPRequestHandler], port: int = 0) -> None:
        self._server = QuietServer(("127.0.0.1", port), handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class WebServer(LocalServer):
    """`files` are the contents by their paths, with a slash in front; they may be changed at any time.

    `habits` are of "no ranges", "no tags", "no head" and "no length"; `redirects` lead from path to address, and
    `answers` are statuses by path. `asked` holds the method, path and range of each request, `clients` the ports of
    those who asked.
    """

    def __init__(self, files: dict[str, bytes] | None = None, *, port: int = 0) -> None:
        self.files = {} if files is None else files
        self.habits: set[str] = set()
        self.redirects: dict[str, str] = {}
        self.answers: dict[str, tuple[int, dict[str, str]]] = {}
        self.ended = False
        self.asked: list[tuple[str, str, str | None]] = []
        self.headers: list[dict[str, str]] = []
        self.clients: set[int] = set()
        super().__init__(_handler_of(self), port)

    def close(self) -> None:
        """End it."""
        self.ended = True
        super().close()


def _handler_of(web: WebServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(False)

        def do_GET(self) -> None:
            self._answer(True)

        def _answer(self, has_body: bool) -> None:
            if web.ended:
                self.close_connection = True
                return
            path = unquote(self.path.partition("?")[0])
            web.asked.append((self.command, path, self.headers["Range"]))
            web.headers.append(dict(self.headers))
            web.clients.add(self.client_address[1])
            if path in web.answers:
                status, headers = web.answers[path]
                self._send(status, headers, b"no", has_body)
            elif path in web.redirects:
                self._send(302, {"Location": web.redirects[path]}, b"", has_body)
            elif "no head" in web.habits and self.command == "HEAD":
                self._send(405, {}, b"", has_body)
            elif path in web.files:
                self._send_file(web.files[path], has_body)
            elif path.endswith("/") and (names := _names_below(web.files, path)):
                links = "".join(f'<a href="{quote(name)}">{escape(name)}</a>\n' for name in ("../", *names))
                self._send(200, {"Content-Type": "text/html"}, links.encode(), has_body)
            else:
                self._send(404, {}, b"not here", has_body)

        def _send_file(self, content: bytes, has_body: bool) -> None:
            headers = {"ETag": f'"{zlib.crc32(content):08x}"', "Last-Modified": MODIFIED}
            if "no tags" in web.habits:
                headers = {}
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
            if wanted is None or "no ranges" in web.habits:
                self._send(200, headers, content, has_body)
                return
            start, stop = int(wanted[1]), min(len(content), int(wanted[2] or len(content) - 1) + 1)
            if start >= len(content):
                self._send(416, {"Content-Range": f"bytes */{len(content)}"}, b"", has_body)
                return
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
            self._send(206, headers, content[start:stop], has_body)

        def _send(self, status: int, headers: dict[str, str], content: bytes, has_body: bool) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "no length" in web.habits:
                self.close_connection = True
                self.send_header("Connection", "close")
            else:
                self.send_header("Content-Length", str(len(content)))
            try:
                self.end_headers()
                if has_body:
                    self.wfile.write(content)
            except OSError:  # the client has gone
                self.close_connection = True

    return Handler


def _names_below(files: dict[str, bytes], folder: str) -> list[str]:
    """What lies in a folder: files, and folders with a slash after them."""
    below = [path.removeprefix(folder) for path in files if path.startswith(folder)]
    return sorted({path if "/" not in path else path.partition("/")[0] + "/" for path in below})
