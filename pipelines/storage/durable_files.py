"""Files that are there whole or not at all: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from .plain_files import create_plain

__all__ = ["WriteBehind", "fsync_folder", "fsync_path", "write_durably"]

BEHIND_BYTES = 32 << 20


def write_durably(path: Path, content: str | bytes) -> None:
    """Replace a file by bytes, or by a text in UTF-8: a reader sees the old file or the new one. Raises `OSError`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with create_plain(beside) as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    fsync_folder(path.parent)


def fsync_path(path: Path) -> None:
    """Wait until a file's bytes are on the disk. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(folder: Path) -> None:
    """Wait until a folder's names are on the disk: without it a rename can be undone by a power cut."""
    fsync_path(folder)


class WriteBehind:
    """Writes a file to the disk in the background, so that the fsync at its end is short.

    Without it, the system starts to write when gigabytes are waiting or half a minute has passed.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._waiting = descriptor, 0
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None

    def wrote(self, num_bytes: int) -> None:
        """Count bytes that were written to the file. Raises the `OSError` of an earlier write to the disk."""
        self._waiting += num_bytes
        if self._waiting >= BEHIND_BYTES and hasattr(os, "fdatasync"):
            if self._thread is not None:
                if self._thread.is_alive():
                    return
                self.wait()
            self._waiting = 0
            self._thread = threading.Thread(target=self._send)
            self._thread.start()

    def wait(self) -> None:
        """Wait for the thread. Raises its `OSError`, which a later fsync may not report again."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            raise self._error

    def _send(self) -> None:
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._error = error
