"""Every file below a folder, each once, whatever the links."""

from __future__ import annotations

import heapq
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .media_types import is_media_name
from .plain_files import canonical_name, system_path

__all__ = ["Failure", "Walk", "WalkedFile", "walk"]

Identity = tuple[int, int]


class WalkedFile(NamedTuple):
    """A regular file: path below the walked folder with `/` between names, and bytes.

    The path is the UTF-8 text of the bytes that the names are, whatever the locale, with `\\udc80` and so on for bytes
    that are not UTF-8; `plain_files.system_path` gives what opens it.
    """

    path: str
    size: int


class Failure(NamedTuple):
    """A file or folder that cannot be packed: path below the source, and why in a few words."""

    path: str
    reason: str


@dataclass(frozen=True)
class Walk:
    """What a walk found, in no fixed order: files, folders that cannot be read, and entries that cannot be used.

    An unusable entry comes with the modality it is named like, None where it is named like none.
    """

    files: list[WalkedFile] = field(default_factory=list)
    unreadable_folders: list[Failure] = field(default_factory=list)
    unusable: list[tuple[str | None, Failure]] = field(default_factory=list)


def walk(folder: Path, *, modalities: Collection[str], exclude: Collection[Path] = ()) -> Walk:
    """All regular files below a folder. Broken links count as unusable if they are named like one of `modalities`.

    Hidden files, hidden folders and the folders `exclude` are passed over, links are followed. A folder is entered
    once: by its own path if it lies below `folder`, else by the first link to it in alphabetical order. So a link
    back up, or ten links to one folder, change nothing.
    """
    found = Walk()
    entered = {identity for path in exclude if (identity := _identity(path))}
    waiting, links = [""], list[str]()
    while waiting or links:
        inside = waiting.pop() if waiting else heapq.heappop(links)
        here = system_path(folder, inside)
        identity = _identity(here)
        if identity in entered:
            continue
        if identity:
            entered.add(identity)
        try:
            with os.scandir(here) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            reason = f"a folder that cannot be read ({error.strerror})"
            found.unreadable_folders.append(Failure(inside or ".", reason))
            continue
        for entry in visible:
            name = canonical_name(entry.name)
            path = f"{inside}/{name}" if inside else name
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif entry.is_dir():
                    heapq.heappush(links, path)
                elif entry.is_file():
                    found.files.append(WalkedFile(path, entry.stat().st_size))
                elif entry.is_symlink() and (modality := _modality_by_name(path, modalities)):
                    found.unusable.append((modality, Failure(path, "a symbolic link to nothing")))
            except OSError as error:
                failure = Failure(path, f"cannot be read ({error.strerror})")
                found.unusable.append((_modality_by_name(path, modalities), failure))
    return found


def _modality_by_name(path: str, modalities: Collection[str]) -> str | None:
    return next((modality for modality in modalities if is_media_name(path, modality)), None)


def _identity(folder: str | Path) -> Identity | None:
    try:
        status = os.stat(folder)  # noqa: PTH116 (a text)
    except OSError:
        return None
    return status.st_dev, status.st_ino
