"""Files that are there whole or not at all: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import os
from pathlib import Path

from .plain_files import create_plain

__all__ = ["fsync_folder", "fsync_path", "write_durably"]


def write_durably(path: Path, content: str | bytes) -> None:
    """Replace a file by bytes, or by a text in UTF-8: a reader sees the old file or the new one. Raises `OSError`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with create_plain(beside) as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    fsync_folder(path.parent)


def fsync_path(path: Path) -> None:
    """Wait until a file's bytes are on the disk. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(folder: Path) -> None:
    """Wait until a folder's names are on the disk: without it a rename can be undone by a power cut."""
    fsync_path(folder)
