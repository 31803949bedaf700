"""Every file below a folder, each once, whatever the links."""

from __future__ import annotations

import heapq
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .found_files import RUN_FILES, FoundFiles, FoundFilesWriter
from .media_types import is_media_name
from .plain_files import canonical_name, system_path

__all__ = ["Failure", "Walk", "walk"]

Identity = tuple[int, int]


class Failure(NamedTuple):
    """A file or folder that cannot be packed: path below the source, and why in a few words."""

    path: str
    reason: str


@dataclass(frozen=True)
class Walk:
    """What a walk found: files by path; in no fixed order folders that cannot be read, and entries of no use.

    An unusable entry comes with the modality it is named like, None where it is named like none.
    """

    files: FoundFiles
    unreadable_folders: list[Failure] = field(default_factory=list)
    unusable: list[tuple[str | None, Failure]] = field(default_factory=list)


def walk(folder: Path, *, modalities: Collection[str], exclude: Collection[Path] = ()) -> Walk:
    """All regular files below a folder. Broken links count as unusable if they are named like one of `modalities`.

    Hidden files, hidden folders and the folders `exclude` are passed over, links are followed. A folder is entered
    once: by its own path if it lies below `folder`, else by the first link to it in alphabetical order. So a link
    back up, or ten links to one folder, change nothing.
    """
    files, found = FoundFilesWriter(), _Entries(modalities)
    unreadable = list[Failure]()
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
        before = files.mark()
        try:
            with os.scandir(here) as entries:
                found.take(entries, f"{inside}/" if inside else "", files)
        except OSError as error:
            files.back_to(before)
            found.forget()
            reason = f"a folder that cannot be read ({error.strerror})"
            unreadable.append(Failure(inside or ".", reason))
            continue
        waiting += sorted(found.folders, key=lambda path: f"{path}/", reverse=True)
        for path in found.links:
            heapq.heappush(links, path)
        found.keep()
    return Walk(files.finish(), unreadable, found.unusable)


class _Entries:
    """What is in one folder, without its files, which go to a writer; `unusable` is of all folders that are kept."""

    def __init__(self, modalities: Collection[str]) -> None:
        self.folders, self.links = list[str](), list[str]()
        self.unusable = list[tuple[str | None, Failure]]()
        self._modalities, self._kept = modalities, 0

    def keep(self) -> None:
        """Go on to the next folder."""
        self.folders, self.links, self._kept = [], [], len(self.unusable)

    def forget(self) -> None:
        """Go on to the next folder, as if this one had been empty."""
        del self.unusable[self._kept :]
        self.keep()

    def take(self, entries: Iterable[os.DirEntry[str]], prefix: str, files: FoundFilesWriter) -> None:
        """All entries of a folder whose path, with a slash behind it, is `prefix`. Raises `OSError`."""
        paths, sizes = list[str](), list[int]()
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = prefix + canonical_name(entry.name)
            try:
                if entry.is_file(follow_symlinks=False):
                    size = entry.stat().st_size
                    paths.append(path)
                    sizes.append(size)
                    if len(paths) == RUN_FILES:
                        files.add(paths, sizes)
                        paths, sizes = [], []
                else:
                    self._take_other(entry, path, paths, sizes)
            except OSError as error:
                failure = Failure(path, f"cannot be read ({error.strerror})")
                self.unusable.append((_modality_by_name(path, self._modalities), failure))
        files.add(paths, sizes)

    def _take_other(self, entry: os.DirEntry[str], path: str, paths: list[str], sizes: list[int]) -> None:
        """A folder, a link, or something else. Raises `OSError`."""
        if entry.is_dir(follow_symlinks=False):
            self.folders.append(path)
        elif entry.is_dir():
            self.links.append(path)
        elif entry.is_file():
            sizes.append(entry.stat().st_size)
            paths.append(path)
        elif entry.is_symlink() and (modality := _modality_by_name(path, self._modalities)):
            self.unusable.append((modality, Failure(path, "a symbolic link to nothing")))


def _modality_by_name(path: str, modalities: Collection[str]) -> str | None:
    return next((modality for modality in modalities if is_media_name(path, modality)), None)


def _identity(folder: str | Path) -> Identity | None:
    try:
        status = os.stat(folder)  # noqa: PTH116 (a text)
    except OSError:
        return None
    return status.st_dev, status.st_ino
