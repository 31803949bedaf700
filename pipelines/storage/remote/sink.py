"""Where the bytes of a read go: gathered into larger pieces, digested, and written again after a restart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from .client import Piece
from .retrying import RequestError

__all__ = ["Sink"]

WRITE_BYTES = 1 << 20


class Sink:
    """Gathers small pieces into larger ones for `write`, and with `with_digest` computes their SHA-256.

    The memory of a piece is used again after `write` returns; with `copied`, pieces are `bytes` and may be kept.
    """

    def __init__(
        self,
        write: Callable[[Any], Any],
        restart: Callable[[], Any] | None,
        *,
        with_digest: bool = False,
        copied: bool = True,
    ) -> None:
        self._write, self._restart, self._with_digest, self._copied = write, restart, with_digest, copied
        self._begin()

    def _begin(self) -> None:
        self.taken, self._waiting = 0, bytearray()
        self._digest = hashlib.sha256() if self._with_digest else None

    def take(self, piece: Piece) -> None:
        """Add a piece."""
        self.taken += len(piece)
        if len(piece) >= WRITE_BYTES and not self._waiting:
            self._put(piece)
            return
        self._waiting += piece
        if len(self._waiting) >= WRITE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            waiting, self._waiting = self._waiting, bytearray()
            self._put(memoryview(waiting))

    def _put(self, content: Piece) -> None:
        if self._digest is not None:
            self._digest.update(content)
        self._write(bytes(content) if self._copied else content)

    def hexdigest(self) -> str:
        """The SHA-256 of all that was written."""
        return "" if self._digest is None else self._digest.hexdigest()

    def restart(self) -> None:
        """Throw away what was written. Raises `RequestError` where the receiver cannot."""
        if self._restart is None:
            raise RequestError(
                f"it broke after {self.taken:,} bytes, and the server does not say whether it is still the same file",
                passes=False,
                remedy="Read it again from the beginning.",
            )
        self._restart()
        self._begin()
