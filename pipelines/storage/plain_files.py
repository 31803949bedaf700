"""Files that are what they seem: plain ones are read, and links are not followed where something is written.

A folder may come from somebody else. A pipe in it would be waited for without end, and a link that stands where a file
is to be written would lead out of the folder.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "MOST_TEXT_BYTES",
    "canonical_name",
    "create_plain",
    "map_plain",
    "open_plain",
    "open_sized",
    "read_plain",
    "refuse_link",
    "system_path",
    "system_paths",
]

READ_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
MOST_TEXT_BYTES = 1 << 30
"""Of a manifest, a plan or a journal; a manifest of 100,000 shards has 20 MB."""
CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
NATIVE_IS_UTF8 = sys.getfilesystemencoding().lower().replace("-", "") == "utf8"


def open_plain(path: str | os.PathLike[str], *, follow: bool = True) -> int:
    """A descriptor for reading a file; without `follow` its path may not be a link.

    Raises `OSError`, also for what is not a plain file: a folder, a pipe, a device.
    """
    return open_sized(path, follow=follow)[0]


def open_sized(path: str | os.PathLike[str], *, follow: bool = True) -> tuple[int, int]:
    """A descriptor as `open_plain` gives it, and the bytes of the file."""
    descriptor = os.open(path, READ_FLAGS | (0 if follow else os.O_NOFOLLOW))
    status = os.fstat(descriptor)
    mode = status.st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        raise OSError(errno.EINVAL, "not a plain file", os.fspath(path))
    return descriptor, status.st_size


def read_plain(path: str | os.PathLike[str], *, most: int | None = None) -> bytes:
    """All bytes of a plain file. Raises `OSError`, also for one of more than `most` bytes."""
    with open(open_plain(path), "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise OSError(
                errno.EFBIG, f"{size:,} bytes are more than the {most:,} that it can have", os.fspath(path)
            )
        return file.readall()


def map_plain(path: str | os.PathLike[str], *, follow: bool = True) -> memoryview:
    """All bytes of a plain file, read from the disk where they are looked at. Raises `OSError`."""
    descriptor = open_plain(path, follow=follow)
    try:
        if not os.fstat(descriptor).st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)


def create_plain(path: Path, *, buffer_bytes: int = -1) -> BinaryIO:
    """A new, empty file to be written. What stood there, a link included, is removed. Raises `OSError`."""
    path.unlink(missing_ok=True)
    return open(os.open(path, CREATE_FLAGS, 0o666), "wb", buffer_bytes)


def path_setting(name: str, value: object) -> Path:
    """The value of a setting as a path. Raises `TypeError` or `ValueError` for what is not one, naming the setting."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise TypeError(f"{name} is {value!r}; it must be a path, as text.")
    if "\0" in path:
        raise ValueError(f"{name} is {path!r}; a path holds no null character.")
    return Path(path)


def refuse_link(path: Path) -> None:
    """Raise `OSError` for a symbolic link, which would lead what is written somewhere else."""
    if path.is_symlink():
        raise OSError(
            errno.ELOOP, f"{path.name} is a symbolic link, which is not followed; remove it", os.fspath(path)
        )


def canonical_name(name: str) -> str:
    """A file's name as this system gives it, as the text that UTF-8 makes of its bytes: the same in every locale."""
    return name if NATIVE_IS_UTF8 else os.fsencode(name).decode("utf-8", "surrogateescape")


def system_paths(folder: str, relative: Sequence[str]) -> Iterable[str]:
    """`system_path` of many files below a folder."""
    if not NATIVE_IS_UTF8:
        return [system_path(folder, one) for one in relative]
    return map(os.path.join(folder, "").__add__, relative)  # noqa: PTH118 (a text)


def system_path(folder: str | os.PathLike[str], relative: str) -> str:
    """Where a file below a folder lies, from its canonical name, in the terms of this system."""
    if not NATIVE_IS_UTF8:
        relative = os.fsdecode(relative.encode("utf-8", "surrogateescape"))
    return os.path.join(folder, relative)  # noqa: PTH118 (a text: Path costs more than opening)
