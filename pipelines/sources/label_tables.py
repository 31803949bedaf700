"""What the labels of a set mean: the table beside its manifest."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from ..errors import ShardError, SourceError
from ..modality import modalities
from ..storage.label_table import Label, LabelTable
from ..storage.manifest import Manifest
from ..storage.plain_files import MOST_TEXT_BYTES, path_setting, read_plain

__all__ = ["labels"]

CLASSES_NAME = "classes.json"


def labels(data: Any) -> LabelTable:
    """The labels of packed data: what the classes of its boxes or its sub-folders are called, and how many there are.

    data    a folder of shards (or the one that holds `image`, `audio` …), a tar in it, an iterator or a source

    >>> # table = labels("shards/image"); len(table); table[0].name; table.find("dog").number; table.counts

    Raises `SourceError` for data without labels, `ShardError` for a damaged table.
    """
    folder = _folder_of(data)
    for place in (folder, *(folder / modality.name for modality in modalities())):
        if (found := _labels_in(place)) is not None:
            return found
    raise SourceError(
        f"{folder}: has no table of labels. Pack the data with --annotations, or with --classes for "
        "labels by sub-folder."
    )


def _folder_of(data: Any) -> Path:
    """The folder of shards that something was read from. Raises `SourceError` or `TypeError`."""
    inner = data
    while (source := getattr(inner, "source", None)) is not None:
        inner = source
    if (tars := getattr(inner, "tars", None)) is not None:
        return Path(tars[0]).parent
    if not isinstance(data, str | os.PathLike):
        raise TypeError(f"data is {data!r}; it must be a folder of shards, an iterator or a source of shards.")
    path = path_setting("data", data)
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder.")
    return path if path.is_dir() else path.parent


def _labels_in(folder: Path) -> LabelTable | None:
    """The labels of the manifest if it has some, because `labels.json` may be newer than the set while it is packed."""
    if (manifest := Manifest.find(folder)) is not None and manifest.labels is not None:
        return manifest.labels
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return LabelTable.load(folder)
    return None if manifest is None else _labels_of_classes(folder)


def _labels_of_classes(folder: Path) -> LabelTable | None:
    """Of a set that was packed before there was such a table: sub-folders, which were not counted."""
    path = folder / CLASSES_NAME
    try:
        classes = json.loads(read_plain(path, most=MOST_TEXT_BYTES))
        if not isinstance(classes, dict) or any(type(number) is not int for number in classes.values()):
            raise ValueError("it is not a table of classes")
        return LabelTable(Label(number, number, name) for name, number in classes.items())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ShardError(f"{path}: cannot be read ({error}). Make the shards again with --overwrite.") from error
