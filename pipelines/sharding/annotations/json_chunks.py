"""Chunks of a JSON text for a streaming parser: no token is cut, nesting is bounded, no number is refused.

Python writes NaN and Infinity into JSON, and integers of any size. yajl takes neither: they become null, and decimals.
"""

from __future__ import annotations

import math
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from .problems import ProblemLog

__all__ = ["CHUNK_BYTES", "MOST_DEPTH", "UnreadableJsonError", "json_chunks", "nesting_depths"]

CHUNK_BYTES = 1 << 18
MOST_TOKEN_BYTES = 1 << 22
MOST_DEPTH = 100

_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-?(?:NaN|Infinity)|-?\d[\d.eE+-]*', re.DOTALL)
_WORD_BYTES = b"0123456789+-.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NOT_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
_STEPS = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")
_DIGITS_ALIKE = bytes.maketrans(b"123456789E", b"000000000e")


class UnreadableJsonError(Exception):
    """A text that no parser should be given; `str()` says why, for a sentence."""


def json_chunks(file: BinaryIO, name: str, log: ProblemLog) -> Iterator[bytes]:
    """The text of a file in chunks that end between tokens, with what was changed in it counted in `log`.

    Raises `UnreadableJsonError` for values nested more than 100 deep, and for a string or a number of more than
    4 MiB; `OSError` and `EOFError` as reading does.
    """
    depth, rest, is_first, num_bytes = 0, b"", True, 0
    while True:
        read = file.read(CHUNK_BYTES)
        text = rest + (read.removeprefix(BOM_UTF8) if is_first else read)
        is_first = False
        outside, held = _outside_strings(text)
        if not read:
            held = 0
        if held > MOST_TOKEN_BYTES:
            begin = num_bytes + len(read) - held
            raise UnreadableJsonError(
                f"a text or a number that begins at byte {begin:,} has more than {MOST_TOKEN_BYTES >> 20} MiB"
            )
        num_bytes += len(read)
        chunk, rest = text[: len(text) - held], text[len(text) - held :]
        depth = _depth_after(outside, depth, num_bytes)
        if _has_refused(outside):
            chunk = _TOKENS.sub(lambda found: _accepted(found[0], name, log), chunk)
        if chunk:
            yield chunk
        if not read:
            return


def _outside_strings(text: bytes) -> tuple[bytes, int]:
    """A text without its strings, and how many bytes at its end may be part of a token that is not complete."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    parts = text.split(b'"')
    outside = b"".join(parts[::2])
    if len(parts) % 2 == 0:
        return outside, len(parts[-1]) + 1
    return outside, len(outside) - len(outside.rstrip(_WORD_BYTES))


def nesting_depths(text: bytes) -> NDArray[np.int64]:
    """(brackets,): how deep a text is nested after each of its brackets, those in strings included."""
    return np.cumsum(np.frombuffer(text.translate(_STEPS, _NOT_BRACKETS), np.int8), dtype=np.int64)


def _depth_after(outside: bytes, depth: int, end: int) -> int:
    """The depth of nesting after a text without its strings, from that before it; it ends at byte `end`."""
    depths = nesting_depths(outside)
    if not len(depths):
        return depth
    if depth + int(depths.max()) > MOST_DEPTH:
        raise UnreadableJsonError(f"its values are nested more than {MOST_DEPTH} deep before byte {end:,}")
    return depth + int(depths[-1])


def _has_refused(outside: bytes) -> bool:
    """Whether a text without its strings may hold a number that yajl refuses."""
    alike = outside.translate(_DIGITS_ALIKE)
    return any(sign in alike for sign in (b"N", b"I", b"0" * 19, b"e000", b"e+000"))


def _accepted(token: bytes, name: str, log: ProblemLog) -> bytes:
    """A token as yajl takes it: strings and ordinary numbers are left as they are."""
    if token.startswith(b'"'):
        return token
    try:
        value = float(token)
    except ValueError:
        return token
    if not math.isfinite(value):
        log.add("not finite", lambda: f"{name}: {token[:40].decode()}")
        return b"null"
    if token.removeprefix(b"-").isdigit() and abs(value) >= 2**63 - 1024:
        log.add("long integer", lambda: f"{name}: {token[:40].decode()}")
        return repr(value).encode()
    return token
