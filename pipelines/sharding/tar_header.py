"""The header of one member of a tar: no clock, no owner, no host."""

from __future__ import annotations

import contextlib

__all__ = ["tar_header"]

MOST_NAME_BYTES, MOST_BYTES = 100, 1 << 33
BEFORE_SIZE = b"0000644\0" + b"0000000\0" * 2  # mode, owner, group
BEFORE_SUM = b"\0" + b"0" * 11 + b"\0"  # the end of the size; time
AFTER_SUM = (
    b"\0 0" + bytes(100) + b"ustar\x0000" + bytes(247)
)  # the end of the sum; a plain file, no link, no names
SUM = sum(BEFORE_SIZE) + sum(BEFORE_SUM) + sum(AFTER_SUM) + 7 * ord(" ")
"""Of all bytes but the name and the size. The eight of the sum itself count as spaces, of which one is there."""


def tar_header(name: str, size: int) -> bytes:
    """A ustar header; pax only for a name that is too long or not ASCII, or more than 8 GiB."""
    if name.isascii() and len(name) <= MOST_NAME_BYTES and size < MOST_BYTES and "\0" not in name:
        return _plain_header(name.encode("ascii"), size)
    import tarfile

    member = tarfile.TarInfo(name)
    member.size = size
    if name.isascii():
        with contextlib.suppress(ValueError):
            return member.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _plain_header(name: bytes, size: int) -> bytes:
    """What `tarfile` makes of a short name, in a tenth of the time: only the name, the size and their sum differ."""
    digits = b"%011o" % size
    total = SUM + sum(name) + sum(digits)
    return b"%b%b%b%b%06o%b" % (name.ljust(100, b"\0"), BEFORE_SIZE, digits, BEFORE_SUM, total, AFTER_SUM)
