"""The header of one member of a tar: no clock, no owner, no host."""

from __future__ import annotations

import contextlib
import tarfile

__all__ = ["tar_header"]

MOST_NAME_BYTES, MOST_BYTES = 100, 1 << 33
EMPTY = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT)
EMPTY_SIZE = EMPTY[124:135]
EMPTY_SUM = int(EMPTY[148:154], 8)


def tar_header(name: str, size: int) -> bytes:
    """A ustar header; pax only for a name that is too long or not ASCII, or more than 8 GiB."""
    if name.isascii() and len(name) <= MOST_NAME_BYTES and size < MOST_BYTES and "\0" not in name:
        return _plain_header(name.encode("ascii"), size)
    member = tarfile.TarInfo(name)
    member.size = size
    if name.isascii():
        with contextlib.suppress(ValueError):
            return member.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _plain_header(name: bytes, size: int) -> bytes:
    """What `tarfile` makes of a short name, in a tenth of the time: only the name, the size and their sum differ."""
    digits = b"%011o" % size
    total = EMPTY_SUM + sum(name) + sum(digits) - sum(EMPTY_SIZE)
    return b"%b%b%b%b%06o%b" % (
        name.ljust(100, b"\0"), EMPTY[100:124], digits, EMPTY[135:148], total, EMPTY[154:],
    )  # fmt: skip
