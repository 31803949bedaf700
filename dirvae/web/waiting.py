"""Closing idle connections that never send a request, so that they cannot use up all connections of a server."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HEAD_SECONDS", "HeadDeadlineProtocol"]

HEAD_SECONDS = 5.0
"""How long the head of a request, up to the empty line after its headers, may take to arrive."""


class HeadDeadlineProtocol(H11Protocol):
    """HTTP/1.1 of uvicorn, with a deadline for the head of each request; uvicorn itself sets none."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._begin_deadline()

    def data_received(self, data: bytes) -> None:
        """End the deadline when a head is complete; begin one for the next head."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._end_deadline()
        elif self._deadline is None:  # the next request of a connection that was kept
            self._begin_deadline()

    def on_response_complete(self) -> None:
        """End the deadline: uvicorn itself closes connections that stay idle after a response."""
        self._end_deadline()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the deadline."""
        self._end_deadline()
        super().connection_lost(exc)

    def _begin_deadline(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
