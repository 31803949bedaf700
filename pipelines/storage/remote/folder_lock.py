"""One at a time counts and changes the files of a cache's folder."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ...stopping import pause
from .cache_errors import CacheError, cannot_keep
from .held_files import HeldFile

__all__ = ["Patience", "locked_folder"]

FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.001, 0.05


class Patience:
    """How long is waited, in pauses that grow; the time runs from the first pause, or the last `begin`."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._pause = seconds, FIRST_POLL_SECONDS
        self._began: float | None = None

    def begin(self) -> None:
        """Let the time run from now."""
        self._began = time.monotonic()

    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() - self._began >= self._seconds if self._began is not None else self._seconds <= 0

    def pause(self) -> None:
        """Sleep a little. Raises `StoppedError`."""
        if self._began is None:
            self.begin()
        pause(time.sleep, self._pause, "the cache")
        self._pause = min(self._pause * 2, LONGEST_POLL_SECONDS)


@contextlib.contextmanager
def locked_folder(folder: Path, wait_seconds: float) -> Iterator[None]:
    """Hold a folder of this user, which is made if it is not there.

    Raises `CacheError`, also for an `OSError` inside.
    """
    held = None
    try:
        held = _hold(folder, Patience(wait_seconds))
        yield
    except OSError as error:
        raise cannot_keep(folder, error) from error
    finally:
        if held is not None:
            held.close()


def _hold(folder: Path, patience: Patience) -> HeldFile:
    path = f"{folder}/lock"
    while True:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():
            raise CacheError(f"{folder}: belongs to another user. Name a folder of your own for the cache.")
        try:
            held = HeldFile(path, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            continue  # the folder was deleted just now
        if held.lock() and held.is_at(path):
            return held
        held.close()
        if patience.is_over():
            raise CacheError(
                f"{folder}: a process has held its lock for longer than anything takes. It is stopped or its disk "
                "does not answer: end it, or name another folder."
            )
        patience.pause()
