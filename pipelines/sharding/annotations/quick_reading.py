"""The entries of an annotation file, many at a time by a fast parser, as long as nothing in the file is unusual.

A file is read in pieces. A piece is cut where one entry ends and the next begins, and parsed as a list: what looks like
such a place but lies inside a text or an entry leaves a piece that is not JSON.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from .json_chunks import MOST_DEPTH, nesting_depths

__all__ = ["SECTIONS", "Batch", "UnusualJsonError", "quick_batches"]

SECTIONS = ("images", "annotations", "categories", "licenses")
PIECE_BYTES = 1 << 17
MOST_PIECE_BYTES = 1 << 22
SPACES = b" \t\r\n"

_BEGIN = re.compile(rb"[ \t\r\n]*\{[ \t\r\n]*")
_KEY = re.compile(rb'"([A-Za-z0-9_ -]*)"[ \t\r\n]*:[ \t\r\n]*')
_LIST = re.compile(rb"\[[ \t\r\n]*")
_NEXT = re.compile(rb"[ \t\r\n]*([,}])[ \t\r\n]*")
_LAST_ENTRY = re.compile(rb"\}[ \t\r\n]*\]")
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19

Loads = Callable[[bytes], Any]


class UnusualJsonError(Exception):
    """A text that the streaming parser has to decide on."""


class Batch(NamedTuple):
    """Some entries of a section, and their text in the file with the commas between them, None if not known."""

    section: str
    entries: list[Any]
    text: bytes | None = None


def quick_batches(file: BinaryIO, loads: Loads) -> Iterator[Batch]:
    """The entries in the order of the file; an empty section gives an empty batch.

    Raises `UnusualJsonError` where the file is damaged, or has something that the streaming parser treats differently:
    the entries before that place are right, and the streaming parser reads the rest. Raises `OSError` and `EOFError` as
    reading does.
    """
    window = _Window(file)
    window.take(_BEGIN)
    while True:
        name = window.take(_KEY)[1].decode()
        if name in SECTIONS:
            window.take(_LIST)
            yield from _entries(name, window, loads)
        else:
            _pass_over(window, loads)
        if window.take(_NEXT, to_the_end=True)[1] == b"}":
            break
    if not window.is_at_end():
        raise UnusualJsonError


class _Window:
    """The part of a file that is looked at: `text` begins where the last step ended."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._has_more = file, True
        self.text = b""
        self.read()
        self.text = self.text.removeprefix(BOM_UTF8)

    def read(self) -> None:
        """Read the next piece. Raises `UnusualJsonError` at the end of the file, and if `text` is too long."""
        if not self._has_more or len(self.text) > MOST_PIECE_BYTES:
            raise UnusualJsonError
        piece = self._file.read(PIECE_BYTES)
        self._has_more = bool(piece)
        self.text += piece

    def advance(self, num_bytes: int) -> None:
        """Drop these bytes from the beginning."""
        self.text = self.text[num_bytes:]

    def take(self, pattern: re.Pattern[bytes], to_the_end: bool = False) -> re.Match[bytes]:
        """Match a pattern at the beginning and drop it; with `to_the_end` the match may reach the end of the file."""
        while True:
            found = pattern.match(self.text)
            if found and (found.end() < len(self.text) or (to_the_end and not self._has_more)):
                self.advance(found.end())
                return found
            self.read()

    def is_at_end(self) -> bool:
        """Whether nothing but spaces follows in the file."""
        while self._has_more and not self.text.strip(SPACES):
            self.text = b""
            self.read()
        return not self.text.strip(SPACES)


def _entries(section: str, window: _Window, loads: Loads) -> Iterator[Batch]:
    """The entries of a section whose list has begun, to its end."""
    if window.text.startswith(b"]"):
        window.advance(1)
        yield Batch(section, [])
        return
    while True:
        if last := _LAST_ENTRY.search(window.text):
            text = window.text[: last.start() + 1]
            batch = Batch(section, _parsed(text, loads), text)
            window.advance(last.end())
            yield batch
            return
        end, begin = _last_boundary(window.text)
        if end:
            text = window.text[:end]
            batch = Batch(section, _parsed(text, loads), text)
            window.advance(begin)
            yield batch
        window.read()


def _last_boundary(text: bytes) -> tuple[int, int]:
    """Where the last but one entry in a text ends and the last begins; zeros if there is no such place."""
    begin = len(text)
    while (begin := text.rfind(b"{", 0, begin)) > 0:
        before = text[max(0, begin - 64) : begin].rstrip(SPACES)
        if before.endswith(b","):
            before = before[:-1].rstrip(SPACES)
            if before.endswith(b"}"):
                return text.rfind(b"}", 0, begin) + 1, begin
    return 0, 0


def _parsed(text: bytes, loads: Loads) -> list[Any]:
    """The values of a text that is a list without its brackets."""
    _check(text)
    try:
        found: list[Any] = loads(b"[%b]" % text)
    except ValueError as error:
        raise UnusualJsonError from error
    return found


def _check(text: bytes) -> None:
    """Raise `UnusualJsonError` for whole numbers that may have more than 64 bits, and for deep nesting."""
    if _LONG_NUMBER in text.translate(_DIGITS_ALIKE):
        raise UnusualJsonError
    if nesting_depths(text).max(initial=0) > MOST_DEPTH - 2:  # the two are those of the file and of its section
        raise UnusualJsonError


def _pass_over(window: _Window, loads: Loads) -> None:
    """Skip the value of a key that is not a section."""
    while True:
        try:
            _, end = json.JSONDecoder().raw_decode(window.text.decode("latin-1"))
        except RecursionError as error:
            raise UnusualJsonError from error
        except ValueError:
            end = len(window.text)
        if end < len(window.text):
            _parsed(window.text[:end], loads)
            window.advance(end)
            return
        window.read()
