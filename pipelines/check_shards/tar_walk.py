"""A walk of a tar as its bytes arrive: it reads every header, finds every example and computes its CRC-32.

The walk does not use `storage/tar.py` and `tar_index.py`, which make indexes, so that an index is not compared with
itself. The rule for examples is the same: neighbouring members with one key are an example. Only headers and the
numbers of one example are kept in memory.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import NamedTuple

from ..storage.keys import split_member_name

__all__ = ["TarFault", "TarWalk", "WalkedExample", "WalkedMember"]

BLOCK = 512
MOST_EXTENSION = 1 << 20
MOST_MEMBERS = 100_000
"""Files of one example, at most, because they are held in memory."""
MOST_SIZE = 1 << 61
KEPT_PAYLOAD = 64
"""Bytes of the longest `cls` whose value is counted."""
OCTAL = re.compile(rb"[ \0]*([0-7]*)(?:[ \0].*)?", re.DOTALL)
PAX_RECORD = re.compile(rb"(\d{1,9}) ([^=]*)=")
EXTENSIONS = b"xgLK"
WITHOUT_PAYLOAD = b"123456"

Steps = Generator[None, memoryview | None, None]


class TarFault(NamedTuple):
    """Why a walk ended early: a kind of finding, a position in bytes, and the reason as a part of a sentence."""

    kind: str
    offset: int
    reason: str


class WalkedMember(NamedTuple):
    """A file of an example: its suffix in lower case, the span of its payload in bytes, and a short `cls` itself."""

    suffix: str
    data_offset: int
    data_length: int
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class WalkedExample:
    """An example in a tar: its span [offset, stop) in bytes, its files, and the CRC-32 of the span."""

    number: int
    key: str
    offset: int
    stop: int
    members: list[WalkedMember]
    crc32: int


class _Fault(Exception):
    """Raised inside a walk to end it."""

    def __init__(self, kind: str, offset: int, reason: str) -> None:
        self.fault = TarFault(kind, offset, reason)


class _Header(NamedTuple):
    name: str
    size: int
    type: int
    raw: bytes


class TarWalk:
    """Walks the bytes that `feed` gets; `on_example` gets each example as soon as its last member has passed.

    After `finish`, `fault` is the fault of the tar, None if it is whole. `position` is the number of bytes that were
    understood, `num_examples` the number of examples that were found.
    """

    def __init__(self, on_example: Callable[[WalkedExample], None]) -> None:
        self.position = 0
        self.fault: TarFault | None = None
        self.num_examples = 0
        self._on_example = on_example
        self._chunk, self._at = memoryview(b""), 0
        self._crc = self._stop_crc = 0
        self._key: str | None = None
        self._suffixes: set[str] = set()
        self._members: list[WalkedMember] = []
        self._offset = self._stop = 0
        self._steps: Steps | None = self._walk()
        next(self._steps)

    def feed(self, chunk: bytes | memoryview) -> None:
        """The next bytes of the tar."""
        if self._steps is not None:
            self._go_on(memoryview(chunk))

    def finish(self) -> None:
        """End of the tar."""
        if self._steps is not None:
            self._go_on(None)

    def _go_on(self, chunk: memoryview | None) -> None:
        assert self._steps is not None
        try:
            self._steps.send(chunk)
        except StopIteration:
            self._steps = None
        except _Fault as error:
            self._steps, self.fault = None, error.fault

    def _walk(self) -> Steps:
        overrides: dict[str, str | int] = {}
        while True:
            begin = self.position
            header, lead, own = yield from self._member_headers(overrides)
            if header is None:
                break
            yield from self._pass_member(header, begin, lead, own)
        self._end_example()
        yield from self._pass_zeros(begin)

    def _member_headers(
        self, everywhere: dict[str, str | int]
    ) -> Generator[None, memoryview | None, tuple[_Header | None, bytes, dict[str, str | int]]]:
        """The header of the next member, all bytes up to its payload, and what extensions say; None at the end."""
        lead, own = list[bytes](), dict(everywhere)
        while True:
            at = self.position
            block = yield from self._take(BLOCK, "a header")
            if not block.strip(b"\0"):
                if lead:
                    raise _Fault("damaged-tar", at, "an extended header is followed by the end mark")
                return None, b"", own
            header = _parse_header(block, at)
            lead.append(block)
            if header.type not in EXTENSIONS:
                more = header.type == ord("S") and block[482]
                while more:
                    lead.append((yield from self._take(BLOCK, "a sparse header")))
                    more = lead[-1][504]
                return header, b"".join(lead), own
            if header.size > MOST_EXTENSION:
                raise _Fault("damaged-tar", at, f"an extended header claims {header.size:,} bytes")
            content = yield from self._take(_padded(header.size), "an extended header")
            lead.append(content)
            found = _extension(header.type, content[: header.size], at)
            own.update(found)
            if header.type == ord("g"):
                everywhere.update(found)

    def _pass_member(self, header: _Header, begin: int, lead: bytes, own: dict[str, str | int]) -> Steps:
        size = int(own.get("size", header.size))
        name = str(own.get("path", header.name))
        is_sparse = header.type == ord("S") or "sparse" in own
        is_file = (
            header.type in b"\x0007" and not is_sparse and not (name.endswith("/") and header.type != ord("7"))
        )
        length = 0 if header.type in WITHOUT_PAYLOAD else size
        parts = split_member_name(name) if is_file else None
        if parts is not None:
            self._begin_if_new(parts[0], parts[1].lower(), begin, lead)
        data_offset = self.position
        is_kept = parts is not None and parts[1].lower() == "cls" and length <= KEPT_PAYLOAD
        content = yield from self._take(length, "the payload of ", name, keep=is_kept)
        yield from self._take(_padded(length) - length, "the padding of ", name, keep=False)
        if parts is not None:
            self._members.append(WalkedMember(parts[1].lower(), data_offset, length, content))
            self._stop, self._stop_crc = self.position, self._crc

    def _begin_if_new(self, key: str, suffix: str, begin: int, lead: bytes) -> None:
        if key != self._key or suffix in self._suffixes:
            self._end_example()
            self._key, self._suffixes, self._members = key, set(), []
            self._offset, self._crc = begin, zlib.crc32(lead)
        if len(self._members) >= MOST_MEMBERS:
            raise _Fault("damaged-tar", begin, f"an example of more than {MOST_MEMBERS:,} files")
        self._suffixes.add(suffix)

    def _end_example(self) -> None:
        if self._key is None:
            return
        example = WalkedExample(
            self.num_examples, self._key, self._offset, self._stop, self._members, self._stop_crc
        )
        self.num_examples += 1
        self._key = None
        self._on_example(example)

    def _pass_zeros(self, mark: int) -> Steps:
        """Pass the bytes after the end mark, which must all be zeros."""
        while True:
            rest = self._chunk[self._at :]
            if left := len(bytes(rest).lstrip(b"\0")):
                at = self.position + len(rest) - left
                raise _Fault("trailing-bytes", at, f"more stands behind the end mark, which is at byte {mark:,}")
            self.position += len(rest)
            chunk = yield
            if chunk is None:
                return
            self._chunk, self._at = chunk, 0

    def _take(
        self, num: int, what: str, name: str = "", *, keep: bool = True
    ) -> Generator[None, memoryview | None, bytes]:
        """Pass `num` bytes, and return them if `keep`; `what` and `name` say in errors what they belong to."""
        begin, kept = self.position, []
        while num:
            if self._at == len(self._chunk):
                chunk = yield
                if chunk is None:
                    inside = f"in {what}{name!r:.80}" if name else f"in {what}"
                    inside = inside if self.position > begin else "without its end mark"
                    raise _Fault("cut-tar", self.position, f"it ends {inside}")
                self._chunk, self._at = chunk, 0
                continue
            piece = self._chunk[self._at : self._at + num]
            self._at += len(piece)
            self.position += len(piece)
            num -= len(piece)
            self._crc = zlib.crc32(piece, self._crc)
            if keep:
                kept.append(bytes(piece))
        return b"".join(kept)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _parse_header(block: bytes, at: int) -> _Header:
    stated = _number(block[148:156], at)
    unsigned = sum(block) - sum(block[148:156]) + 8 * 32  # its own eight bytes count as spaces
    if stated not in (unsigned, unsigned - 256 * _num_high(block[:148] + block[156:], stated != unsigned)):
        raise _Fault("damaged-tar", at, "a header fails its checksum")
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].split(b"\0", 1)[0] + b"/" + name
    return _Header(_text(name), _number(block[124:136], at), block[156], block)


def _num_high(content: bytes, is_asked: bool) -> int:
    """Bytes above 127, which some old tars summed as negative numbers; counted only where it matters."""
    return sum(byte > 127 for byte in content) if is_asked else 0


def _number(field: bytes, at: int) -> int:
    """Octal digits, or base 256 where the first bit is set."""
    if field[0] >= 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if field[0] == 0xFF or value > MOST_SIZE:
            raise _Fault("damaged-tar", at, "a header claims an impossible size")
        return value
    digits = OCTAL.fullmatch(field)
    if digits is None:
        raise _Fault("damaged-tar", at, "what stands there is not a tar header")
    return int(digits[1] or b"0", 8)


def _extension(kind: int, content: bytes, at: int) -> dict[str, str | int]:
    """The facts of an extended header for the next member: its name, its size, whether it is sparse."""
    if kind == ord("L"):
        return {"path": _text(content)}
    if kind == ord("K"):
        return {}
    found: dict[str, str | int] = {}
    place = 0
    while place < len(content) and content[place]:
        record = PAX_RECORD.match(content, place)
        stop = place + int(record[1]) if record else 0
        if record is None or not record.end() <= stop - 1 < len(content):
            raise _Fault("damaged-tar", at, "a pax header is malformed")
        value = content[record.end() : stop - 1]
        if record[2] == b"path" and value:
            found["path"] = _text(value)
        elif record[2] == b"size" and value:
            if not value.isdigit() or len(value) > 18:
                raise _Fault("damaged-tar", at, "a pax header claims an impossible size")
            found["size"] = int(value)
        elif record[2].startswith(b"GNU.sparse."):
            found["sparse"] = 1
        place = stop
    return found


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
