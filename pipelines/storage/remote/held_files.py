"""Open files with a lock that ends with its holder, however that ends, and that a forked process does not share.

The locks are those of flock: they belong to one opening of a file, so two threads of a process exclude each other as
two processes do. A fork would share them, and keep them when the parent dies; so its copies are closed at once.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

__all__ = ["HeldFile"]

FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)


class _Forks:
    """The descriptors that a fork has to close, and the lock that no fork happens in."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.descriptors: set[int] = set()
        self.is_watching = False

    def watch(self) -> None:
        with self.lock:
            if not self.is_watching:
                self.is_watching = True
                os.register_at_fork(
                    before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child
                )

    def _before(self) -> None:
        self.lock.acquire()

    def _in_parent(self) -> None:
        self.lock.release()

    def _in_child(self) -> None:
        self.lock = threading.RLock()
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = set()


_forks = _Forks()


class HeldFile:
    """An open file of this process, which can be locked; a link is not followed. Raises `OSError`."""

    def __init__(self, path: Path | str, flags: int = os.O_RDONLY) -> None:
        if not _forks.is_watching:
            _forks.watch()
        self._process = os.getpid()
        self._open: list[int] = []
        with _forks.lock:
            self.descriptor = os.open(path, flags | FLAGS, 0o600)
            _forks.descriptors.add(self.descriptor)
        self._open.append(self.descriptor)

    def lock(self, *, shared: bool = False) -> bool:
        """Take the lock, alone or `shared`, or turn one into the other; False where another one is in the way."""
        try:
            fcntl.flock(self.descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def status(self) -> os.stat_result:
        """What the system says of the open file."""
        return os.fstat(self.descriptor)

    def is_at(self, path: Path | str) -> bool:
        """Whether the file still lies where it was opened, not removed or replaced."""
        try:
            return os.path.samestat(self.status(), os.lstat(path))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Let go of the lock and the file; a second time it does nothing, and in a forked process neither."""
        try:
            descriptor = self._open.pop()  # in one step: of two threads one has it
        except IndexError:
            return
        if self._process == os.getpid():
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # also for copies that a fork has not closed yet
            _forks.descriptors.discard(descriptor)
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()
