"""soundfile over anything that can be read by offset."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

from .wav import Read

__all__ = ["MediaFile", "steady_sound_file"]


class MediaFile(io.RawIOBase):
    """What is read through `read(offset, length)`, as a file for libsndfile.

    An error must not cross the C code in between: it is kept in `failure`, and the file ends there.
    """

    def __init__(self, read: Read, size: int) -> None:
        super().__init__()
        self._read, self.size, self._position = read, size, 0
        self.failure: Exception | None = None

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, as any file does."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Bytes from the start."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as there are bytes."""
        length = max(0, min(len(buffer), self.size - self._position))
        try:
            content = self._read(self._position, length) if length and self.failure is None else b""
        except Exception as error:
            self.failure, content = error, b""
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def check(self) -> None:
        """Raise what went wrong in reading."""
        if self.failure is not None:
            raise self.failure


@cache
def steady_sound_file() -> Any:
    """soundfile's `SoundFile`, playing on after a read. Raises `ImportError` with the command that installs it.

    The original seeks after each read to where it stands, and decoders then begin anew from some frames before.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the package without libsndfile
        message = "anything but wav of plain PCM is decoded by soundfile: pip install soundfile."
        raise ImportError(message) from error

    class SteadySoundFile(soundfile.SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            return False

        def can_seek(self) -> bool:
            return bool(super().seekable())

    return SteadySoundFile
