"""The file of a store while it is built: bodies are appended, and read again before it is complete."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

__all__ = ["BodyFile"]

_COMMA = re.compile(rb"\}[ \t\r]*,[ \t\r]*\{")


class BodyFile:
    """A new file of bodies (JSON objects), one after another. Raises `OSError` if it cannot be written."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "w+b", buffering=1 << 18)  # noqa: SIM115 (closed by `close`)
        self.size = 0
        self._num_flushed = 0

    def append(self, body: bytes) -> int:
        """Write a body; its offset in bytes."""
        offset = self.size
        self._file.write(body)
        self.size += len(body)
        return offset

    def append_each(self, bodies: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Write many bodies; the offset and the length of each in bytes, (bodies,) each."""
        lengths = np.fromiter(map(len, bodies), np.int64, len(bodies))
        offsets = self.size + np.cumsum(lengths) - lengths
        self.append(b"".join(bodies))
        return offsets, lengths

    def append_text(self, text: bytes, num: int) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """The same for the text of `num` JSON objects with commas between them, which is written as it is.

        None, and nothing is written, if the text is not ASCII, has line ends, or it is not clear where objects begin.
        """
        if not text.isascii() or b"\n" in text:
            return None
        first = _COMMA.search(text)
        comma = first[0] if first else b"},{"
        has_only_ends = text.count(b"}") == num  # each object has one, so that no text and no value has another
        if not has_only_ends and len(_COMMA.findall(text)) != num - 1:
            return None
        parts = text.split(comma)
        if len(parts) != num:
            return None
        lengths = np.fromiter(map(len, parts), np.int64, num) + 2  # with the braces that belong to the commas
        lengths[0] -= 1
        lengths[-1] -= 1
        offsets = self.size + np.cumsum(lengths) - lengths + (len(comma) - 2) * np.arange(num)
        self.append(text)
        return offsets, lengths

    def read(self, offset: int, length: int) -> bytes:
        """A body that was written."""
        if offset + length > self._num_flushed:
            self._file.flush()
            self._num_flushed = self.size
        return os.pread(self._file.fileno(), length, offset)

    def __enter__(self) -> BodyFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
