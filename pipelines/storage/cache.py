"""The user's cache folder: what can be computed again at any time, kept under what identifies its origin.

A cached file is named by a digest of JSON that says what it follows from. It is only ever a shortcut: damaged or
absent, it is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .npy import read_npy_header

__all__ = ["cache_folder", "cache_name", "cached_array", "file_identity", "stat_numbers", "store_in_cache"]


def cache_folder() -> Path:
    """$DIRVAE_CACHE, or `dirvae` below $XDG_CACHE_HOME or ~/.cache.

    Without a home folder, as in some containers, below the folder for temporary files.
    """
    if chosen := os.environ.get("DIRVAE_CACHE"):
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


def store_in_cache(path: Path, write: Callable[[Path], None]) -> bool:
    """Write a cache entry beside its place and rename it in; False where the cache cannot be written to.

    What `write` raises passes through, but for an `OSError`, which a full disk raises.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
    path = cache_folder() / f"{cache_name(what)}.npy"
    try:
        with open(path, "rb") as file:
            shape, _, dtype = read_npy_header(file)
            if dtype == like and shape == (num,) and num:
                return np.memmap(file, dtype, "r", file.tell(), shape)
    except (OSError, ValueError):  # absent, or damaged
        pass
    made = make()

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.lib.format.write_array(file, made, version=(1, 0), allow_pickle=False)

    store_in_cache(path, write)
    return made
