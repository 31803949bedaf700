"""What a run into a bucket keeps on this machine, in the folder for temporary files (TMPDIR).

Files have no name, so that the system frees them however a process ends. A folder is used for files that other
processes open. Its name holds the number of its process, and the next run removes folders of processes that are gone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .source_reader import PackingStoppedError

__all__ = ["process_start", "temporary_disk_errors", "temporary_file", "temporary_folder"]

PREFIX = "make_shards-"


@contextlib.contextmanager
def temporary_file() -> Iterator[IO[bytes]]:
    """A file without a name. Raises `PackingStoppedError` where the temporary disk is full."""
    with temporary_disk_errors(), tempfile.TemporaryFile() as file:
        yield file


@contextlib.contextmanager
def temporary_disk_errors() -> Iterator[None]:
    """Raise `PackingStoppedError` where the temporary disk is full, or cannot be written to."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PackingStoppedError(
            f"{tempfile.gettempdir()}: the folder for temporary files cannot be written to "
            f"({error.strerror or error}). Make room, or name another one by TMPDIR; finished shards are kept."
        ) from error


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is removed afterwards. Folders of killed processes are removed first. Raises `OSError`."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*-*"):
        pid, start = left.name.removeprefix(PREFIX).split("-")[:2]
        with contextlib.suppress(OSError):
            if pid.isdigit() and process_start(int(pid)) != start and left.lstat().st_uid == os.getuid():
                shutil.rmtree(left, ignore_errors=True)
    prefix = f"{PREFIX}{os.getpid()}-{process_start(os.getpid())}-"
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        yield Path(folder)


def process_start(pid: int) -> str:
    """When a process of this machine was started; empty if it is gone. Numbers of processes are used again."""
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""
