"""The life of a process that measures videos: asked for one at a time, until the parent closes the connection.

    parent ── a video: where it lies, its size, the most pixels ──▶ child
           ◀── . still at it, at most once a second ──────────────
           ◀── r offset and length of bytes it needs ─────────────  where the video lies in no file
           ── those bytes ────────────────────────────────────────▶
           ◀── t frame table, or e kind and reason ───────────────
                 and checksums of its frames where they were asked for

Nothing is pickled: messages are JSON, bytes of the video, and the rows of a frame table.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ...child_process import end_with
from ...errors import SourceError
from ...sources.located import FilePart, Member
from ...storage.blob import LocalFile
from ...storage.frame_table import FrameTable
from ..errors import UndecodableError
from .frame_checksums import frame_crc32
from .measuring import measure_video

__all__ = ["MOST_BYTES", "main"]

MOST_BYTES = 2 << 30
"""Of its memory, where the system keeps account of that (Linux)."""

SECONDS_BETWEEN_SIGNS = 1.0


def main(connection: int, lifeline: int) -> None:
    """Serve the parent at the other end of two file descriptors."""
    for descriptor in (connection, lifeline):
        os.set_inheritable(descriptor, False)
    end_with(lifeline)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # native readers print remarks there
    os.dup2(2, 1)
    _limit_memory()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(Connection(connection))


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        most = MOST_BYTES if hard == resource.RLIM_INFINITY else min(MOST_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _serve(connection: Connection[Any, Any]) -> None:
    connection.send_bytes(b".")
    while True:
        asked = json.loads(connection.recv_bytes())
        try:
            media = _member(connection, **asked["media"])
            signs, sums = _Signs(connection), _Sums(is_wanted=asked["checksums"])
            table = measure_video(media, max_pixels=asked["max_pixels"], on_packet=signs.give, on_frame=sums.add)
            rows = table.to_rows()
            answer = b"t" + len(rows).to_bytes(8, "little") + rows.tobytes() + sums.of(table)
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:
            answer = b"e" + json.dumps(_kind_and_reason(error)).encode()
        connection.send_bytes(answer)


class _Signs:
    """Signs of life for the parent, one a second at most."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection, self._last = connection, time.monotonic()

    def give(self) -> None:
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_SIGNS:
            self._last = now
            self._connection.send_bytes(b".")


class _Sums:
    """Checksums of the frames that were decoded, as they came, each with its packet."""

    def __init__(self, *, is_wanted: bool) -> None:
        self._is_wanted = is_wanted
        self._found: list[tuple[int, int]] = []

    def add(self, frame: Any, packet: int) -> None:
        if self._is_wanted:
            self._found.append((packet, frame_crc32(frame)))

    def of(self, table: FrameTable) -> bytes:
        """Those of the frames of a table, uint32 each."""
        good = set(table.rows["packet"].tolist())
        return np.array([crc for packet, crc in self._found if packet in good], np.uint32).tobytes()


def _member(connection: Connection[Any, Any], path: str | None, offset: int, size: int) -> Member:
    if path is None:
        return Member(partial(_ask_for_bytes, connection), size)
    file = LocalFile(path)

    def read(start: int, length: int) -> bytes:
        return file.read(offset + start, max(0, min(length, size - start)))

    return Member(read, size, file=FilePart(path, offset))


def _ask_for_bytes(connection: Connection[Any, Any], offset: int, length: int) -> bytes:
    connection.send_bytes(b"r" + json.dumps([offset, length]).encode())
    return connection.recv_bytes()


def _kind_and_reason(error: Exception) -> tuple[str, str]:
    """What the parent raises, and its text, which holds no path, address or time for a video that is refused."""
    if isinstance(error, UndecodableError):
        return "refused", str(error)
    if isinstance(error, ImportError):
        return "missing", str(error)
    if isinstance(error, SourceError):
        return "unreadable", str(error)
    if isinstance(error, MemoryError):
        return "refused", f"measuring it takes more than {MOST_BYTES >> 30} GiB of memory"
    return "refused", f"damaged: it cannot be measured ({type(error).__name__})"
