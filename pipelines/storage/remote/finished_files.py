"""The finished files of a cache: how they are marked, and how one that was altered since is recognised."""

from __future__ import annotations

import os
import stat
import time

__all__ = ["is_of_this_start", "is_whole", "mark_finished"]

FINISHED_NS = 1_000_000_000 * 10**9
"""The time of modification of every finished file: a second in 2001 that no other file has by chance."""


def mark_finished(descriptor: int) -> None:
    """Mark an open file as finished, and as used now. Raises `OSError`."""
    os.utime(descriptor, ns=(time.time_ns(), FINISHED_NS))


def is_whole(status: os.stat_result, size: int) -> bool:
    """Whether a cache of this user finished the file, with `size` bytes, and nobody wrote to it since."""
    is_own = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
    return is_own and status.st_size == size and status.st_mtime_ns == FINISHED_NS


def is_of_this_start(status: os.stat_result) -> bool:
    """Whether the file was marked since the machine started, by its time of change.

    Programs cannot set that time; one in the future is not believed.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    now_ns = time.time_ns()
    return now_ns - time.clock_gettime_ns(clock) < status.st_ctime_ns < now_ns + 10**9
