"""One run at a time in a folder, by a lock that the kernel frees when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import ShardingError

__all__ = ["LOCK_NAME", "hold_folder"]

LOCK_NAME = ".make_shards.lock"


@contextlib.contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder; the lock file is gone afterwards.

    Raises `ShardingError`, with the holder's process number, if another run holds it, or if it cannot be written.
    """
    path = folder / LOCK_NAME
    try:
        handle = _acquire(path)
    except OSError as error:
        raise ShardingError(f"{folder}: cannot be written to ({error.strerror}). Name another one.") from error
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: who opened it meanwhile finds that it is not the one
        os.close(handle)


def _acquire(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(handle, path):
                return handle
        except BlockingIOError as error:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
            by = f"process {holder}" if holder else "another process"
            os.close(handle)
            raise ShardingError(
                f"{path.parent}: {by} is packing into it. Wait for it to finish, or stop it first."
            ) from error
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is_current(handle: int, path: Path) -> bool:
    """Whether the locked file is still the one at its path, not one that its last holder has just removed."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
