"""Every file below a folder, each once, whatever the links."""

from __future__ import annotations

import heapq
import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from .media_types import is_media_name

__all__ = ["Failure", "WalkedFile", "walk"]

Identity = tuple[int, int]


class WalkedFile(NamedTuple):
    """A regular file: path below the walked folder with `/` between parts, and bytes."""

    path: str
    size: int


class Failure(NamedTuple):
    """A file or folder that cannot be packed: path below the source, and why in a few words."""

    path: str
    reason: str


def walk(
    folder: Path, *, kinds: Collection[str], exclude: Collection[Path] = ()
) -> tuple[list[WalkedFile], list[tuple[str | None, Failure]]]:
    """All regular files below a folder, and what could not be looked into; neither in any fixed order.

    A failure comes with the kind of media it is one of ("image", "audio"), None where that is not known; broken
    links count if they are named like one of `kinds`.

    Hidden files and folders are passed over, links are followed. A folder is entered once: by its own path if
    it lies below `folder`, else by the first link to it in alphabetical order. So a link back up, or ten
    links to one place, change nothing.
    """
    files: list[WalkedFile] = []
    failures: list[tuple[str | None, Failure]] = []
    entered = {identity for place in exclude if (identity := _identity(place))}
    waiting, links = [""], list[str]()
    while waiting or links:
        place = waiting.pop() if waiting else heapq.heappop(links)
        identity = _identity(folder / place)
        if identity in entered:
            continue
        if identity:
            entered.add(identity)
        try:
            with os.scandir(folder / place) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            failures.append((None, Failure(place or ".", f"a folder that cannot be read ({error.strerror})")))
            continue
        for entry in visible:
            path = f"{place}/{entry.name}" if place else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif entry.is_dir():
                    heapq.heappush(links, path)
                elif entry.is_file():
                    files.append(WalkedFile(path, entry.stat().st_size))
                elif entry.is_symlink() and (kind := _named_kind(path, kinds)):
                    failures.append((kind, Failure(path, "a symbolic link to nothing")))
            except OSError as error:
                reason = f"cannot be read ({error.strerror})"
                failures.append((_named_kind(path, kinds), Failure(path, reason)))
    return files, failures


def _named_kind(path: str, kinds: Collection[str]) -> str | None:
    return next((kind for kind in kinds if is_media_name(path, kind)), None)


def _identity(folder: Path) -> Identity | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
