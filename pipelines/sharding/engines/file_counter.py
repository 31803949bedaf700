"""The number of the file that a worker process is packing, in memory that it shares with its parent.

Writing and reading it needs no system call. It remains readable when the worker has died.
"""

from __future__ import annotations

import mmap
import os
import tempfile

__all__ = ["FileCounter"]

NONE, READY = -1, -2


class FileCounter:
    """A 64-bit number in the shared memory of a file without a name."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, mmap.PAGESIZE)
        self._numbers = memoryview(self._memory).cast("q")

    @classmethod
    def new(cls) -> FileCounter:
        """A new one. Raises `OSError`."""
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
        """The number that was written last; None after `clear` and `say_ready`."""
        number = self._numbers[0]
        return None if number < 0 else number

    @property
    def is_ready(self) -> bool:
        """Whether `say_ready` was the last call that changed it."""
        return self._numbers[0] == READY

    def say_ready(self) -> None:
        """Note that the worker has imported everything and waits for messages."""
        self._numbers[0] = READY

    def write(self, number: int) -> None:
        """Note the number of the next file."""
        self._numbers[0] = number

    def clear(self) -> None:
        """Note that there is no file yet."""
        self._numbers[0] = NONE

    def close(self) -> None:
        """Release the memory in this process. Closing twice is allowed; reading afterwards is not."""
        if self.descriptor >= 0:
            self._numbers.release()
            self._memory.close()
            os.close(self.descriptor)
            self.descriptor = -1
