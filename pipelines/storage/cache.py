"""The user's cache folder: what can be computed again at any time, kept under what identifies its origin.

A cached file is named by a digest of JSON that says what it follows from. It is only ever a shortcut: absent, damaged
or written by another user, it is made again. An entry ends with a digest of its name and content; a link is not
followed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .npy import MAX_HEADER_BYTES, read_npy_header
from .plain_files import map_plain

__all__ = [
    "cache_folder",
    "cache_name",
    "cached_array",
    "file_identity",
    "is_own_file",
    "read_entry",
    "stat_numbers",
    "store_in_cache",
    "write_entry",
]

SEAL_BYTES = 32


def cache_folder() -> Path:
    """$DIRVAE_CACHE, or `dirvae` below $XDG_CACHE_HOME or ~/.cache.

    Without a home folder, as in some containers, below the folder for temporary files. In a folder of another user,
    such as one that several share, a folder of one's own.
    """
    chosen = _chosen_folder()
    try:
        is_own = chosen.stat().st_uid == os.geteuid()
    except OSError:
        is_own = True  # absent: it will be
    return chosen if is_own else chosen / f"user-{os.geteuid()}"


def _chosen_folder() -> Path:
    if chosen := os.environ.get("DIRVAE_CACHE"):
        try:
            return Path(chosen).expanduser()
        except RuntimeError:  # no home: the name stands for itself
            return Path(chosen)
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "dirvae"
    try:
        return Path.home() / ".cache" / "dirvae"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"dirvae-{os.getuid()}"


def file_identity(path: Path) -> str:
    """Identifies the content of a file on this machine, as JSON. Raises `OSError`.

    Its path, size, device, inode, and the times of its last modification and last change; a user can set the former
    time back, not the latter.
    """
    return json.dumps([str(path.resolve()), *stat_numbers(path.stat())])


def stat_numbers(status: os.stat_result) -> tuple[int, ...]:
    """What changes with a file's content: size, device, inode, and the times of modification and of change."""
    return status.st_size, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def cache_name(what: Any) -> str:
    """The name of what follows from some JSON: 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def is_own_file(path: Path) -> bool:
    """Whether a plain file, and no link, of this user lies there: nothing else in a cache is believed."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()


def read_entry(name: str) -> memoryview | None:
    """The content of an entry, mapped into memory; None if there is none, it is damaged, or somebody else's."""
    path = cache_folder() / name
    try:
        if not is_own_file(path):
            return None
        whole = map_plain(path, follow=False)
    except OSError:
        return None
    content = whole[: max(0, len(whole) - SEAL_BYTES)]
    return content if whole[len(content) :] == _seal(name, content) else None


def write_entry(name: str, content: bytes | memoryview) -> bool:
    """Keep an entry under a name, with a digest of both behind it; False where the cache cannot be written to."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            file.write(content)
            file.write(_seal(name, content))

    return store_in_cache(cache_folder() / name, write)


def _seal(name: str, content: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(name.encode())
    digest.update(content)
    return digest.digest()


def store_in_cache(path: Path, write: Callable[[Path], None]) -> bool:
    """Write a file of the cache beside its place and rename it in; False where the cache cannot be written to.

    What `write` raises passes through, but for an `OSError`, which a full disk raises.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=path.stem, dir=path.parent)
    except OSError:
        return False
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.replace(path)
    except OSError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def cached_array(what: Any, make: Callable[[], NDArray[Any]], like: np.dtype[Any], num: int) -> NDArray[Any]:
    """A (num,) array of dtype `like` from the cache folder, memory-mapped, or made and put there.

    `what` is JSON that says what it follows from; with None nothing is kept.
    """
    if what is None:
        return make()
    name = f"{cache_name(what)}.npy"
    found = _parse(read_entry(name), like, num)
    if found is None:
        found = make()
        file = io.BytesIO()
        np.lib.format.write_array(file, found, version=(1, 0), allow_pickle=False)
        write_entry(name, file.getbuffer())
    return found


def _parse(content: memoryview | None, like: np.dtype[Any], num: int) -> NDArray[Any] | None:
    if content is None or not num:
        return None
    head = io.BytesIO(content[:MAX_HEADER_BYTES])
    try:
        shape, _, dtype = read_npy_header(head)
    except ValueError:
        return None
    is_like = dtype == like and shape == (num,)
    return np.frombuffer(content, dtype, num, head.tell()) if is_like else None
