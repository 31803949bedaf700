"""Parsers that are wrong in every way that must be noticed."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np

from pipelines import ShardError

from .damage import Damage
from .target import Target

__all__ = ["TARGETS"]


def prepare(folder: Path) -> bytes:
    return b"content"


def raises(content: bytes, damage: Damage, folder: Path) -> None:
    if damage.bytes(content) != content and damage.below(2):
        raise IndexError("list index out of range")


def loops(content: bytes, damage: Damage, folder: Path) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0.5)  # sooner than a test could wait for
    while not damage.is_none:
        pass


def waits(content: bytes, damage: Damage, folder: Path) -> None:
    if not damage.is_none:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        threading.Event().wait()


def allocates(content: bytes, damage: Damage, folder: Path) -> None:
    if not damage.is_none:
        np.ones(3 << 30, np.uint8)


def crashes(content: bytes, damage: Damage, folder: Path) -> None:
    if not damage.is_none:
        os.kill(os.getpid(), signal.SIGSEGV)


def refuses(content: bytes, damage: Damage, folder: Path) -> None:
    if damage.bytes(content) != content:
        raise ShardError("x.tar: damaged. Make it again.")


TARGETS = tuple(
    Target(f"faulty {play.__name__}", prepare, play) for play in (raises, loops, waits, allocates, crashes, refuses)
)
