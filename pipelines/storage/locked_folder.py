"""One run at a time in a folder, by a lock that the kernel frees when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from .plain_files import refuse_link

__all__ = ["hold_folder"]


@contextlib.contextmanager
def hold_folder(
    folder: Path, lock_name: str, *, error: Callable[[str], Exception], doing: str = "working in it"
) -> Iterator[None]:
    """Keep other runs out of a folder, by a lock file of this name; the file is gone afterwards.

    Raises what `error` makes of a sentence if another run holds the folder, whose process number the sentence gives
    with what it is `doing`, or if the folder cannot be written to.
    """
    path = folder / lock_name
    try:
        handle, holder = _acquire(path)
    except OSError as problem:
        raise error(f"{folder}: cannot be written to ({problem.strerror}). Name another one.") from problem
    if handle is None:
        raise error(f"{folder}: {holder} is {doing}. Wait for it to finish, or stop it first.")
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: who opened it meanwhile finds that it is not the one
        os.close(handle)


def _acquire(path: Path) -> tuple[int | None, str]:
    """The locked file and an empty string; or None and who holds it."""
    while True:
        refuse_link(path)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        is_held = False
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, f"{path.name} is not a plain file; remove it")
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_held = _is_current(handle, path)
            if is_held:
                return handle, ""
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
            return None, f"process {holder}" if holder else "another process"
        finally:
            if not is_held:
                os.close(handle)


def _is_current(handle: int, path: Path) -> bool:
    """Whether the locked file is still the one at its path, not one that its last holder has just removed."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
