"""A connection's socket that waits a little at a time, so that a thread that is to stop does not wait for a server."""

from __future__ import annotations

import io
import socket
import time
from typing import Any

from ...stopping import STOP_SECONDS, check_stopped

__all__ = ["PatientSocket"]


class PatientSocket:
    """What `http.client` uses of a socket. Reading raises `TimeoutError` after the timeout, and `StoppedError`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._seconds = sock, sock.gettimeout()

    def settimeout(self, seconds: float | None) -> None:
        """How long nothing may come, or be taken."""
        self._seconds = seconds

    def sendall(self, content: Any) -> None:
        """Send all of it."""
        self._sock.settimeout(self._seconds)
        self._sock.sendall(content)

    def recv_into(self, buffer: Any) -> int:
        """What is there, once something is; 0 at the end."""
        began = time.monotonic()
        while True:
            left = float("inf") if self._seconds is None else began + self._seconds - time.monotonic()
            self._sock.settimeout(max(0.001, min(left, STOP_SECONDS)))
            try:
                return self._sock.recv_into(buffer)
            except TimeoutError:
                check_stopped("a read")
                if left <= STOP_SECONDS:
                    raise

    def makefile(self, mode: str) -> io.BufferedReader:
        """An answer as a file, which keeps the socket open."""
        return io.BufferedReader(_Answer(self, self._sock.makefile(mode, buffering=0)))  # type: ignore[call-overload]

    def close(self) -> None:
        """Close it, once all its files are."""
        self._sock.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Answer(io.RawIOBase):
    """`held` keeps the socket open until it is closed."""

    def __init__(self, sock: PatientSocket, held: Any) -> None:
        self._socket, self._held = sock, held

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._socket.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            self._held.close()
        super().close()
