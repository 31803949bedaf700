"""What is said of files in other files: COCO annotations, and the rows of a table."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import SourceError
from ..storage.plain_files import open_plain, path_setting
from .wording import printable

__all__ = ["Attachments", "digest_of", "file_digest"]

DEFAULT_KEY = "file_name"
SUFFIXES = (".json", ".csv", ".tsv", ".jsonl")
MOST_NAMED = 8
"""Files that an error names."""


@dataclass(frozen=True)
class Attachments:
    """Annotation files of COCO's form, in the order in which they count; and a table with the column of its key."""

    annotations: tuple[Path, ...] = ()
    table: Path | None = None
    key: str = DEFAULT_KEY

    @classmethod
    def of(cls, annotations: object, table: object, key: object) -> Attachments:
        """From the settings `annotations`, `labels` and `label_key`. Raises `TypeError` or `ValueError`."""
        is_one = isinstance(annotations, str | os.PathLike)
        if not is_one and not isinstance(annotations, Sequence):
            raise TypeError(f"annotations is {annotations!r}; it must be the path of a COCO file, or several.")
        named: Any = (annotations,) if is_one else annotations
        paths = tuple(path_setting("annotations", one) for one in named)
        if twice := [path for number, path in enumerate(paths) if path in paths[:number]]:
            raise ValueError(f"annotations names {twice[0]} twice.")
        if key is not None and not isinstance(key, str):
            raise TypeError(f"label_key is {key!r}; it must be the name of a column.")
        if key is not None and table is None:
            raise ValueError(f"label_key is {key!r}, but there is no table: it needs labels.")
        found = None if table is None else path_setting("labels", table)
        return cls(paths, found, DEFAULT_KEY if key is None else key)

    def __bool__(self) -> bool:
        return bool(self.annotations) or self.table is not None

    def describe(self) -> dict[str, Any]:
        """As they stand in the manifest: names and the beginnings of their SHA-256; empty where there are none.

        Raises `SourceError` for a file that cannot be read.
        """
        found: dict[str, Any] = {}
        if self.annotations:
            found["annotations"] = [[path.name, digest_of(path)] for path in self.annotations]
        if self.table is not None:
            found["labels"] = [self.table.name, digest_of(self.table), self.key]
        return found


def digest_of(path: Path) -> str:
    """The first 32 hexadecimal digits of a file's SHA-256. Raises `SourceError` where it cannot be read."""
    if path.is_dir():
        raise SourceError(f"{path}: is a folder; name its files{_files_in(path)}.")
    try:
        status = path.stat()
        return _digest(path, status.st_size, status.st_mtime_ns, status.st_ino)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror or error}). Name another file.") from error


def _files_in(folder: Path) -> str:
    """`: instances_train2017.json, …`: the first files in a folder that may be annotations or tables."""
    with contextlib.suppress(OSError):
        names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
        return f": {', '.join(map(printable, names[:MOST_NAMED]))}{more}" if names else ""
    return ""


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, changed: int, inode: int) -> str:
    return file_digest(path)[:32]


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits. Raises `SourceError` for one that cannot be read."""
    try:
        with open(open_plain(path), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"{printable(str(path))}: cannot be read ({error.strerror or error}).") from error
