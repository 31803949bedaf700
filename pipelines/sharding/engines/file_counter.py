"""A number that a worker process writes and its parent reads, at no cost: which file of its shard it is at.

It stays what it was when the worker dies, in whatever way.
"""

from __future__ import annotations

import mmap
import os
import tempfile

__all__ = ["FileCounter"]

NONE, READY = -1, -2


class FileCounter:
    """A 64-bit number in memory that processes share through a file without a name."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, mmap.PAGESIZE)
        self._numbers = memoryview(self._memory).cast("q")

    @classmethod
    def new(cls) -> FileCounter:
        """One that nobody shares yet. Raises `OSError`."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("file")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, mmap.PAGESIZE)
        found = cls(descriptor)
        found.clear()
        return found

    @property
    def file(self) -> int | None:
        """The number that was written last; None after `clear`."""
        number = self._numbers[0]
        return None if number < 0 else number

    @property
    def is_ready(self) -> bool:
        """Whether the worker has said that it can be asked, and nothing since."""
        return self._numbers[0] == READY

    def say_ready(self) -> None:
        """Say that this worker can be asked."""
        self._numbers[0] = READY

    def write(self, number: int) -> None:
        """Say which file comes next."""
        self._numbers[0] = number

    def clear(self) -> None:
        """Say that there is none yet."""
        self._numbers[0] = NONE

    def close(self) -> None:
        """Release it, in this process; `file` is not read any more. It may be closed before."""
        if self.descriptor >= 0:
            self._numbers.release()
            self._memory.close()
            os.close(self.descriptor)
            self.descriptor = -1
