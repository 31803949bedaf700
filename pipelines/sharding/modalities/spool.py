"""Media that are made in packing, before it is known whether they are right: in one temporary file without a name.

The file lies in the folder for temporary files (`TMPDIR`) and is gone with the process, however that ends.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...sources.located import Member
from ..source_reader import CHUNK_BYTES

__all__ = ["Spool", "SpoolWriter", "SpooledMedia"]


@dataclass(frozen=True, slots=True)
class SpooledMedia:
    """Bytes [offset, offset + size) of a spool."""

    spool: Spool
    offset: int
    size: int

    @property
    def member(self) -> Member:
        """It, to be read."""
        return Member(partial(self.spool.read, self.offset, self.size), self.size)

    def chunks(self) -> Iterator[bytes]:
        """All of it, a mebibyte at a time."""
        for start in range(0, self.size, CHUNK_BYTES):
            yield self.spool.read(self.offset, self.size, start, CHUNK_BYTES)


class Spool:
    """The temporary file, inside a `with`; media lie in it one behind the other."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed by `__exit__`)
        self.end = 0

    def writer(self) -> SpoolWriter:
        """A file that begins at the end of what is there."""
        return SpoolWriter(self._file.fileno(), self.end)

    def keep(self, writer: SpoolWriter) -> SpooledMedia:
        """What was written, which stays; what the next writer writes comes behind it. Raises what writing raised."""
        if writer.failure is not None:
            raise writer.failure
        media = SpooledMedia(self, self.end, writer.size)
        self.end += writer.size
        return media

    def drop(self, media: SpooledMedia) -> None:
        """Let go of the last media that were kept."""
        assert media.offset + media.size == self.end, "only the last can be dropped"
        self.end = media.offset

    def read(self, base: int, size: int, offset: int, length: int) -> bytes:
        """Bytes at an offset behind `base`, none beyond `size`."""
        return os.pread(self._file.fileno(), max(0, min(length, size - offset)), base + offset)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class SpoolWriter(io.RawIOBase):
    """A part of a file that begins at `base`, as a file for C libraries.

    An error must not cross the C code in between, which would take it for damage: it is kept in `failure`.
    """

    def __init__(self, descriptor: int, base: int) -> None:
        super().__init__()
        self._descriptor, self._base, self._position = descriptor, base, 0
        self.size = 0
        self.failure: OSError | None = None

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, as in any file."""
        self._position = max(
            0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        )
        return self._position

    def tell(self) -> int:
        """Bytes from the start."""
        return self._position

    def write(self, content: Any) -> int:
        """All of it; where that fails, nothing more is written."""
        view = memoryview(content)
        try:
            while len(view) and self.failure is None:
                written = os.pwrite(self._descriptor, view, self._base + self._position)
                view, self._position = view[written:], self._position + written
        except OSError as error:
            self.failure = error
        self.size = max(self.size, self._position)
        return len(content)
