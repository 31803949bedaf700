"""Videos from elsewhere, measured in a process of its own: what crashes a reader, or makes it take all memory, costs
that process and the one video.

A process is started when the first video is measured and kept for the next ones, at most `MOST_PROCESSES` of them;
each ends with this process, or by `child_process.end_idle_children`.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...child_process import ChildPool, ChildProcess, how_it_ended
from ...errors import ShardError, SourceError
from ...sources.located import Member
from ...storage.frame_table import FRAME_DTYPE, FrameTable
from ..errors import UndecodableError

__all__ = ["MOST_PROCESSES", "checksums_apart", "measure_apart"]

MOST_PROCESSES = 4
SECONDS_OF_SILENCE = 300.0
"""How long a process may be at one packet. No video that can be played takes a second."""

_pool = ChildPool(f"{__package__}.measuring_child", most=MOST_PROCESSES)


class _Crash(Exception):
    """The process has ended before it answered; `str()` says how."""


def measure_apart(media: Member, *, max_pixels: int | None = None) -> FrameTable:
    """The frame table of a video, as `measure_video` has it; from any thread.

    Raises `UndecodableError` also where its reader crashes, hangs or takes more memory than it may; `ImportError`
    without PyAV; `SourceError` where the video cannot be read, or no process can be started.
    """
    return _measured(media, max_pixels, checksums=False)[0]


def checksums_apart(media: Member, *, max_pixels: int | None = None) -> tuple[FrameTable, NDArray[np.uint32]]:
    """As `measure_apart`, and the checksum of each frame of the table by `frame_crc32`: (frames,)."""
    return _measured(media, max_pixels, checksums=True)


def _measured(media: Member, max_pixels: int | None, *, checksums: bool) -> tuple[FrameTable, NDArray[np.uint32]]:
    asked = {"media": _place_of(media), "max_pixels": max_pixels, "checksums": checksums}
    question = json.dumps(asked).encode()
    try:
        try:
            answer = _asked(question, media)
        except _Crash:  # once more: the machine may have been short of memory
            answer = _asked(question, media)
    except _Crash as error:
        raise UndecodableError(f"its reader crashed ({error})") from None
    return _found(answer)


def _place_of(media: Member) -> dict[str, Any]:
    """Where a child finds a video: in a file, or nowhere, so that it asks for its bytes."""
    if media.file is None:
        return {"path": None, "offset": 0, "size": media.size}
    path = os.path.abspath(media.file.path)  # noqa: PTH100 (a text, whose odd bytes JSON escapes)
    return {"path": path, "offset": media.file.offset, "size": media.size}


def _asked(question: bytes, media: Member) -> bytes:
    """The answer of a child. Raises `_Crash`."""
    with contextlib.ExitStack() as stack:
        try:
            child = stack.enter_context(_pool.lent())
        except OSError as error:
            raise SourceError(
                f"No process can be started to measure videos ({error.strerror or error})."
            ) from error
        try:
            return _answer_of(child, question, media)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            child.end()
            how = how_it_ended(child.exit_code)
            if not child.has_begun:
                raise SourceError(f"The process that measures videos ended before it had begun ({how}).") from None
            raise _Crash(how) from None


def _answer_of(child: ChildProcess, question: bytes, media: Member) -> bytes:
    connection = child.connection
    connection.send_bytes(question)
    while True:
        if not connection.poll(SECONDS_OF_SILENCE):
            raise UndecodableError("its reader does not come to an end")
        answer: bytes = connection.recv_bytes()
        child.has_begun = True
        if answer[:1] == b"r":
            offset, length = json.loads(answer[1:])
            connection.send_bytes(media.read(offset, length))
        elif answer != b".":
            return answer


def _found(answer: bytes) -> tuple[FrameTable, NDArray[np.uint32]]:
    """The table and the checksums in an answer. Raises what the child says instead."""
    if answer[:1] == b"t":
        num_rows = int.from_bytes(answer[1:9], "little")
        rows = np.frombuffer(answer, FRAME_DTYPE, num_rows, offset=9)
        checksums = np.frombuffer(answer, np.uint32, offset=9 + rows.nbytes)
        try:
            return FrameTable.at(rows, 0, "the table"), checksums
        except ShardError as error:
            raise UndecodableError("damaged: the times of its frames cannot be") from error
    kind, reason = json.loads(answer[1:])
    raise {"refused": UndecodableError, "missing": ImportError, "unreadable": SourceError}[kind](reason)
