"""Sub-folders as classes: which number each gets, and the label of each file.

A class is the first folder of a file's path: `cats/indoor/1.jpg` is of class `cats`; a file in no sub-folder has
none. Classes are numbered by name, from 0; an addition numbers those that are new after the old, so that no number
ever changes. They stand in the manifest, with the settings, and for readers in `classes.json` beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import ShardError, SourceError
from ..storage.listing import SourceFile
from .wording import printable

__all__ = ["CLASSES_NAME", "class_of", "known_classes", "number_classes"]

CLASSES_NAME = "classes.json"


def number_classes(files: Iterable[SourceFile], known: Mapping[str, int]) -> dict[str, int]:
    """Name → number of every class: those that are `known`, then the others of the files in alphabetical order.

    Raises `SourceError` for a file with a label of its own, and where there are no sub-folders.
    """
    found = set[str]()
    for file in files:
        if any(suffix.lower() == "cls" for suffix, _ in file.sidecars):
            raise SourceError(
                f"{printable(file.path)}: has a label of its own, in a .cls file. Remove such files, or leave out "
                "--classes."
            )
        if (name := class_of(file.path)) is not None:
            found.add(name)
    if not found and not known:
        raise SourceError("No sub-folder holds a file, so there are no classes. Leave out --classes.")
    first = max(known.values(), default=-1) + 1
    return {**known, **{name: first + number for number, name in enumerate(sorted(found - known.keys()))}}


def class_of(path: str) -> str | None:
    """The class of a file, from its path below the source; None for one that lies in no sub-folder."""
    return path.split("/", 1)[0] if "/" in path else None


def known_classes(settings: Mapping[str, Any]) -> dict[str, int]:
    """Name → number as a manifest's settings have it, empty for a set without. Raises `ShardError` for nonsense."""
    classes = settings.get("classes") or {}
    if not isinstance(classes, dict) or not all(type(number) is int for number in classes.values()):
        raise ShardError(
            "The classes in the manifest are not names with numbers. Make the shards again with --overwrite."
        )
    return classes
