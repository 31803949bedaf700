"""Whether a disk has room for a set of shards."""

from __future__ import annotations

import shutil
from pathlib import Path

from .source_reader import PackingStoppedError

__all__ = ["check_free_bytes", "free_bytes"]


def free_bytes(folder: Path | str) -> int | None:
    """Bytes that can be written to the disk of a folder, which need not exist yet; None where that is not known.

    Of a bucket, which is a URL, it is not known.
    """
    if isinstance(folder, str):
        return None
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        usage = shutil.disk_usage(place)
    except OSError:
        return None
    return usage.free if usage.total else None  # some network disks give no numbers


def check_free_bytes(folder: Path, needed: int) -> None:
    """Raise `PackingStoppedError` where the disk of a folder has fewer bytes than are needed."""
    free = free_bytes(folder)
    if free is not None and free < needed:
        raise PackingStoppedError(
            f"{folder}: {needed / 1e6:,.1f} MB are to be written, and its disk has {free / 1e6:,.1f} MB free. Make "
            "room, or name another folder with --out."
        )
