"""A proxy on this machine in front of a web server, which breaks some of its answers, slows the link, and counts.

    client ──▶ FaultProxy ──▶ server        faults(method, path, range, nth) says what happens to the nth such request

Which answers break depends on a seed, on what is asked for and how often it was asked for before: not on the order in
which threads ask.
"""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler

from tests.web_server import LocalServer

__all__ = ["KINDS", "Fault", "FaultProxy", "Faults", "by_chance", "by_path"]

KINDS = ("503", "429", "reset", "truncate", "flip", "stall", "ignore range")
PIECE_BYTES = 64 << 10
UNSENT = ("connection", "keep-alive", "transfer-encoding", "content-length", "host")


@dataclass(frozen=True)
class Fault:
    """What happens to an answer, once `at` of its body was sent.

    `seconds` is how long it stands still, or what `Retry-After` asks for.
    """

    kind: str
    at: float = 0.5
    seconds: float = 0.0


Faults = Callable[[str, str, str, int], Fault | None]
"""(method, path, range, how often it was asked for before) → what happens to the answer."""


def by_chance(seed: int, chances: Mapping[str, float], *, seconds: float = 0.0) -> Faults:
    """Each kind of fault with its chance; stalls take `seconds`. Only requests for content break."""

    def faults(method: str, path: str, wanted: str, nth: int) -> Fault | None:
        dice = random.Random(f"{seed} {method} {path} {wanted} {nth}")
        drawn = dice.random()
        for kind, chance in chances.items():
            if drawn < chance:
                return Fault(kind, dice.random(), seconds if kind == "stall" else 0.0) if method == "GET" else None
            drawn -= chance
        return None

    return faults


def by_path(rules: Mapping[str, Fault], otherwise: Faults | None = None, *, times: int | None = None) -> Faults:
    """The same fault for all paths that end with a text; with `times` only for so many requests for each."""
    broken: Counter[str] = Counter()

    def faults(method: str, path: str, wanted: str, nth: int) -> Fault | None:
        for end, fault in rules.items():
            if path.endswith(end) and (times is None or broken[path] < times) and method == "GET":
                broken[path] += 1
                return fault
        return None if otherwise is None else otherwise(method, path, wanted, nth)

    return faults


class FaultProxy(LocalServer):
    """In front of 127.0.0.1:`port`. `counts` has requests by method, and faults by kind.

    `latency_seconds` pass before each answer, and all answers share `bytes_per_second`.
    """

    def __init__(
        self,
        port: int,
        faults: Faults | None = None,
        *,
        latency_seconds: float = 0.0,
        bytes_per_second: float | None = None,
    ) -> None:
        self.upstream, self.faults = port, faults
        self.latency_seconds, self.bytes_per_second = latency_seconds, bytes_per_second
        self.counts: Counter[str] = Counter()
        self.by_path: Counter[str] = Counter()
        self.ended = threading.Event()
        self._lock, self._asked, self._link_is_free = threading.Lock(), Counter[tuple[str, str, str]](), 0.0
        super().__init__(_handler_of(self))

    @property
    def requests(self) -> int:
        """Of all methods."""
        return sum(self.counts[method] for method in ("GET", "HEAD", "PUT", "POST"))

    def draw(self, method: str, path: str, wanted: str) -> Fault | None:
        """Count a request, and what happens to it."""
        with self._lock:
            nth = self._asked[method, path, wanted]
            self._asked[method, path, wanted] += 1
            self.counts[method] += 1
            self.by_path[path] += 1
            fault = None if self.faults is None else self.faults(method, path, wanted, nth)
            if fault is not None:
                self.counts[fault.kind] += 1
            return fault

    def pass_on(self, num_bytes: int) -> None:
        """Wait until the link has carried so many bytes."""
        if self.bytes_per_second is not None:
            with self._lock:
                self._link_is_free = (
                    max(self._link_is_free, time.monotonic() - 0.002) + num_bytes / self.bytes_per_second
                )
                wait = self._link_is_free - time.monotonic()
            if wait > 0:
                self.ended.wait(wait)

    def close(self) -> None:
        """End it."""
        self.ended.set()
        super().close()


def _handler_of(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        above: http.client.HTTPConnection | None = None

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            try:
                self._pass_on()
            except (OSError, http.client.HTTPException):
                self.close_connection = True

        do_HEAD = do_PUT = do_POST = do_GET

        def finish(self) -> None:
            if self.above is not None:
                self.above.close()
            super().finish()

        def _pass_on(self) -> None:
            fault = proxy.draw(self.command, self.path, self.headers["Range"] or "")
            if proxy.latency_seconds:
                proxy.ended.wait(proxy.latency_seconds)
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            if fault is not None and fault.kind in ("503", "429"):
                self._refuse(fault)
                return
            answer = self._ask_above(body, without_range=fault is not None and fault.kind == "ignore range")
            self.send_response_only(answer.status)
            length = answer.headers["Content-Length"]
            for name, value in answer.headers.items():
                if name.lower() not in UNSENT or (name.lower() == "content-length"):
                    self.send_header(name, value)
            if length is None:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            if self.command != "HEAD":
                self._send_body(answer, int(length or 0), fault)

        def _ask_above(self, body: bytes, *, without_range: bool) -> http.client.HTTPResponse:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in UNSENT}
            headers["Host"] = self.headers["Host"]
            if without_range:
                headers.pop("Range", None)
                headers.pop("range", None)
            for is_fresh in (False, True):
                if self.above is not None and is_fresh:
                    self.above.close()
                if self.above is None or is_fresh:
                    self.above = http.client.HTTPConnection("127.0.0.1", proxy.upstream, timeout=60)
                try:
                    self.above.request(self.command, self.path, body=body or None, headers=headers)
                    return self.above.getresponse()
                except (OSError, http.client.HTTPException):
                    if is_fresh:
                        raise
            raise AssertionError

        def _refuse(self, fault: Fault) -> None:
            self.send_response(int(fault.kind))
            if fault.seconds:
                self.send_header("Retry-After", f"{fault.seconds:g}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send_body(self, answer: http.client.HTTPResponse, length: int, fault: Fault | None) -> None:
            turn = int(length * fault.at) if fault is not None else length
            sent = 0
            while piece := answer.read(min(PIECE_BYTES, turn - sent) if sent < turn else PIECE_BYTES):
                if sent == turn and fault is not None:
                    if fault.kind in ("reset", "truncate"):
                        self._break_off(fault.kind)
                        return
                    if fault.kind == "stall" and proxy.ended.wait(fault.seconds):
                        return
                    if fault.kind == "flip":
                        piece = bytes([piece[0] ^ 4]) + piece[1:]
                proxy.pass_on(len(piece))
                self.wfile.write(piece)
                sent += len(piece)

        def _break_off(self, kind: str) -> None:
            self.close_connection = True
            if self.above is not None:
                self.above.close()
                self.above = None
            if kind == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

    return Handler
