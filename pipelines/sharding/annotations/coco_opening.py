"""Opening an annotation file, compressed or not, and the error for a file that is not one."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import SourceError
from ...storage.plain_files import open_plain
from ..wording import printable

__all__ = ["damage_of", "open_text", "wrong_form_error"]

GZIP_MAGIC = b"\x1f\x8b"
HEAD_BYTES = 1 << 16


def open_text(path: Path) -> BinaryIO:
    """The text of a file, decompressed if need be. A damaged one ends where the damage is: see `damage_of`."""
    file = open(open_plain(path), "rb")  # noqa: SIM115 (the caller closes it)
    if file.peek(2)[:2] != GZIP_MAGIC:
        return file
    return io.BufferedReader(_Unzipped(file))


def damage_of(file: BinaryIO) -> str:
    """What is wrong with the compression of a file that was read to its end; empty if nothing."""
    raw = getattr(file, "raw", None)
    return raw.damage if isinstance(raw, _Unzipped) else ""


def wrong_form_error(path: Path) -> SourceError:
    """The error for a file that is not an annotation file; it says what the file is instead, if that is known."""
    try:
        with open_text(path) as file:
            reason = _reason(file.read(HEAD_BYTES), damage_of(file))
    except OSError:
        reason = ""
    return SourceError(
        f"{printable(str(path))}: not an annotation file: {reason}it must be a JSON object with the lists "
        '"images" and "annotations", as those of COCO. Name another file.'
    )


def _reason(head: bytes, damage: str) -> str:
    if damage:
        return f"{damage}; "
    if not head.removeprefix(BOM_UTF8).strip():
        return "it is empty; "
    if head.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return "it is a text in UTF-16, not UTF-8; "
    return "it is JSON Lines, one value in each line; " if _are_lines(head) else ""


def _are_lines(head: bytes) -> bool:
    """Whether the first line is a JSON object, and another begins below it."""
    first, _, rest = head.strip().partition(b"\n")
    try:
        return isinstance(json.loads(first), dict) and rest.lstrip().startswith(b"{")
    except (ValueError, RecursionError):
        return False


class _Unzipped(io.RawIOBase):
    """The text of a compressed file up to where it is damaged; `damage` says how. Closes the file below it."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file, self._zipped, self.damage = file, gzip.GzipFile(fileobj=file, mode="rb"), ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """What one step of decompression gives, which loses nothing of what comes before damage."""
        if self.damage:
            return 0
        try:
            found = self._zipped.read1(len(buffer))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            self.damage = f"its compressed content is cut off or damaged ({error})"
            return 0
        buffer[: len(found)] = found
        return len(found)

    def close(self) -> None:
        try:
            self._zipped.close()
            super().close()
        finally:
            self._file.close()
