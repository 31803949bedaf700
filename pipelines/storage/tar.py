"""Reading tar headers: ustar, GNU and pax, from a file or from a span of one in memory.

Only headers are looked at; payloads are located, never copied. Every length comes from the header and is held
against the bytes that are really there. Format: POSIX.1-2001 pax, and the GNU tar manual's "Basic Tar Format".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..errors import ShardError
from .blob import Read

__all__ = [
    "BLOCK",
    "NAME_BYTES",
    "PREFIX_START",
    "Member",
    "TarContinuesError",
    "TarTruncatedError",
    "header_name",
    "iter_members",
    "padded",
]

BLOCK = 512
NAME_BYTES = 100  # of a header: its name; a longer one begins in the prefix
PREFIX_START = 345
MAX_EXTENSION_BYTES = 1 << 20  # a pax header or GNU long name; real ones are a few hundred bytes
REGULAR = frozenset(b"0\0007")  # 7 is "contiguous", to be treated as a regular file
LOCAL_PAX, GLOBAL_PAX, GNU_LONG_NAME, GNU_LONG_LINK, GNU_SPARSE = b"xgLKS"
SPARSE = b"GNU.sparse."  # how pax names all records on sparseness begin
ZEROS = bytes(BLOCK)
LOOK_BYTES = 1 << 20


class TarTruncatedError(ShardError):
    """The archive ends inside a member, or without its end mark. `name` is the member's, None where it is lost."""

    def __init__(self, message: str, name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


class TarContinuesError(ShardError):
    """Something stands behind the archive's end mark."""


class Member(NamedTuple):
    """One member: its name, the span of all its headers and payload, and the payload; offsets in bytes."""

    name: str
    start: int  # of the first header that belongs to it (a pax header, or its own)
    data_start: int
    data_length: int
    stop: int  # after the padding of the payload
    is_file: bool  # a regular file whose payload is stored as it is (not sparse)


def padded(length: int) -> int:
    """A payload's length rounded up to whole tar blocks, in bytes."""
    return (length + BLOCK - 1) // BLOCK * BLOCK


def iter_members(
    read: Read, start: int, stop: int, *, where: str, verify: bool = True, to_end: bool = False
) -> Iterator[Member]:
    """The members whose headers lie in [start, stop), up to the end-of-archive mark.

    `stop` must be the true number of bytes there. `where` names the archive in errors; `verify` checks header
    checksums; `to_end` asks for the end-of-archive mark, without which nobody knows what is missing, and for nothing
    behind it. Raises `ShardError` for a bad header, `TarTruncatedError` where the archive ends too early and
    `TarContinuesError` after its last member where more stands behind the mark.
    """
    global_pax: dict[str, str] = {}
    position = start
    while position + BLOCK <= stop:
        member_start, overrides = position, dict(global_pax)
        while True:
            header = read(position, BLOCK)
            if len(header) < BLOCK:
                raise TarTruncatedError(_cut_off(where, position))
            if header == ZEROS:
                if to_end:
                    _check_nothing_follows(read, position, stop, where)
                return
            if verify:
                _verify_checksum(header, where, position)
            kind, size = header[156], _number(header[124:136], where, position)
            if kind not in (LOCAL_PAX, GLOBAL_PAX, GNU_LONG_NAME, GNU_LONG_LINK):
                break
            extension = _extension(read, position + BLOCK, size, where)
            if kind == GLOBAL_PAX:
                global_pax.update(_pax_records(extension, where, position))
                overrides.update(global_pax)
            elif kind == LOCAL_PAX:
                overrides.update(_pax_records(extension, where, position))
            elif kind == GNU_LONG_NAME:
                overrides["path"] = _text(extension)
            position += BLOCK + padded(size)
        if overrides.get("size"):
            size = _pax_size(overrides["size"], where, member_start)
        is_sparse = kind == GNU_SPARSE or SPARSE.decode("ascii") in overrides
        has_payload = kind not in b"123456"
        data_start = position + BLOCK
        if kind == GNU_SPARSE:
            data_start = _after_sparse_headers(read, header, data_start, where)
        data_length = size if has_payload else 0
        name = overrides.get("path") or header_name(header)
        if data_start + data_length > stop:
            raise TarTruncatedError(_cut_off(where, stop), name)
        is_file = kind in REGULAR and not is_sparse and not (name.endswith("/") and kind != ord("7"))
        position = data_start + padded(data_length)
        yield Member(name, member_start, data_start, data_length, min(position, stop), is_file)
    rest = read(position, stop - position) if position < stop else b""
    if rest.strip(b"\0") or (to_end and not rest):
        raise TarTruncatedError(_cut_off(where, stop))


def _check_nothing_follows(read: Read, mark: int, stop: int, where: str) -> None:
    """Behind the end mark there may be zeros, to fill a record; more is never read by tar itself."""
    for position in range(mark, stop, LOOK_BYTES):
        piece = read(position, min(LOOK_BYTES, stop - position))
        if left := len(piece.lstrip(b"\0")):
            raise TarContinuesError(
                f"{where}: more stands at byte {position + len(piece) - left:,}, behind the end mark at byte {mark:,}, "
                "as where tars were joined by cat. Join them by tar --concatenate, or name each by itself."
            )


def _cut_off(where: str, offset: int) -> str:
    return f"{where}: cut off at byte {offset:,}, before its end mark. Copy or make it again."


def header_name(header: bytes) -> str:
    """The name in one 512-byte header, ustar prefix included; long names of pax and GNU stand elsewhere."""
    name = header[:NAME_BYTES].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0" and header[PREFIX_START]:
        name = header[PREFIX_START:500].split(b"\0", 1)[0] + b"/" + name
    return _text(name)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _number(field: bytes, where: str, offset: int) -> int:
    if field[0] & 0x80:  # base 256, for numbers that do not fit the octal digits
        value = int.from_bytes(field, "big", signed=True) & ((1 << 95) - 1)
        if value >= 1 << 62:
            raise ShardError(f"{where}: the header at byte {offset:,} claims an impossible size. Make it again.")
        return value
    digits = field.replace(b"\0", b" ").strip() or b"0"
    try:
        value = int(digits.split(b" ", 1)[0], 8)
    except ValueError:
        value = -1
    if value < 0:
        raise ShardError(f"{where}: the header at byte {offset:,} is not a tar header. Make it again.")
    return value


def _verify_checksum(header: bytes, where: str, offset: int) -> None:
    stated = _number(header[148:156], where, offset)
    rest = header[:148] + b"        " + header[156:]
    if stated == sum(rest):
        return
    if stated != sum(byte - 256 if byte > 127 else byte for byte in rest):  # some old tars summed signed bytes
        raise ShardError(f"{where}: bad checksum in the header at byte {offset:,}. Copy or make it again.")


def _extension(read: Read, offset: int, size: int, where: str) -> bytes:
    if size > MAX_EXTENSION_BYTES:
        raise ShardError(f"{where}: an extended header at byte {offset:,} claims {size:,} bytes. Make it again.")
    content = read(offset, size)
    if len(content) < size:
        raise TarTruncatedError(_cut_off(where, offset + len(content)))
    return content


def _pax_records(content: bytes, where: str, offset: int) -> dict[str, str]:
    """The records that say something about name, size or sparseness; a header may hold 10⁵ others."""
    records, begin = {}, 0
    while begin < len(content) and content[begin]:
        space = content.find(b" ", begin, begin + 9)
        length_text = content[begin:space] if space > begin else b""
        end = begin + int(length_text) if length_text.isdigit() else 0
        if not space + 2 < end <= len(content):
            raise ShardError(f"{where}: a malformed pax header at byte {offset:,}. Make it again.")
        key, _, value = content[space + 1 : end - 1].partition(b"=")
        if key in (b"path", b"size"):
            records[key.decode("ascii")] = _text(value)
        elif key.startswith(SPARSE):  # that there is one is all that counts; a header may hold 10⁵ of them
            records[SPARSE.decode("ascii")] = ""
        begin = end
    return records


def _pax_size(text: str, where: str, offset: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ShardError(f"{where}: the pax header at byte {offset:,} claims an impossible size. Make it again.")
    return int(text)


def _after_sparse_headers(read: Read, header: bytes, position: int, where: str) -> int:
    more = bool(header[482])
    while more:
        block = read(position, BLOCK)
        if len(block) < BLOCK:
            raise TarTruncatedError(_cut_off(where, position))
        more, position = bool(block[504]), position + BLOCK
    return position
