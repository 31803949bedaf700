"""The errors of a cache of whole files."""

from __future__ import annotations

import errno
from pathlib import Path

from ...errors import ShardError, SourceError

__all__ = ["CacheError", "CacheFullError", "ChecksumError", "cannot_keep"]

FULL = (errno.ENOSPC, errno.EDQUOT)
TOO_MANY_OPEN = (errno.EMFILE, errno.ENFILE)


class CacheError(SourceError):
    """The cache cannot keep a file: its folder cannot be written to, the disk is full, or all of it is in use."""


class CacheFullError(CacheError):
    """There is no room, and nothing can be evicted: all of it is in use, or is needed earlier."""


class ChecksumError(ShardError):
    """The bytes of a file, or their number, do not match what is known of it; it should be fetched again."""


def cannot_keep(what: str | Path, error: OSError) -> CacheError:
    """The error for a file or folder of the cache that the system refuses."""
    remedy = "Name another folder."
    if error.errno in FULL:
        remedy = "Free some space, lower cache_bytes, or name another folder."
    elif error.errno in TOO_MANY_OPEN:
        remedy = "Allow more open files (ulimit -n), or use fewer threads."
    return CacheError(f"{what}: cannot be kept in the cache ({error.strerror}). {remedy}")
