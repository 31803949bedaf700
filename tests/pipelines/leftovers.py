"""What a process holds: threads, open files, child processes, shared memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path


def open_files() -> list[str]:
    """What the open descriptors of this process lead to."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:  # that of the listing itself
            continue
    return sorted(found)


def children_of(process: int) -> list[int]:
    """Its child processes, whatever their state."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = status.read_text().rsplit(")", 1)[1].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == process:
            found.append(int(status.parent.name))
    return found


def new_children(others: Iterable[int]) -> list[int]:
    """Children of this process besides the others, which tests before this one left to torch's own keeping."""
    return sorted(set(children_of(os.getpid())) - set(others))


def segments_of(processes: list[int]) -> list[str]:
    """Shared-memory files that carry one of these process ids in their name, as torch's do."""
    return [
        entry.name
        for entry in Path("/dev/shm").iterdir()
        if any(f"_{process}_" in entry.name for process in processes)
    ]


def threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate())
