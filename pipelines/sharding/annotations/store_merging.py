"""Joining what several annotation files, or several entries of one, say of the same picture."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .body_file import BodyFile
from .codes import NO_ID, Codes
from .json_bytes import to_bytes
from .problems import ProblemLog, shown

__all__ = ["Bodies", "equals_previous", "merge_annotations", "merge_images", "without_repeated_images"]

Flags = NDArray[np.bool_]


class Bodies:
    """The bodies of entries, by the rows of `IMAGE` or `OBJECT` that say where they lie."""

    def __init__(self, body_file: BodyFile, names: Sequence[str]) -> None:
        self.body_file, self._names = body_file, names

    def read(self, row: Any) -> bytes:
        """The body of an entry."""
        return self.body_file.read(int(row["offset"]), int(row["length"]))

    def parsed(self, row: Any) -> dict[str, Any]:
        """An entry."""
        found: dict[str, Any] = json.loads(self.read(row))
        return found

    def replace(self, row: Any, value: dict[str, Any]) -> None:
        """Give an entry another value."""
        body = to_bytes(value)
        row["offset"], row["length"] = self.body_file.append(body), len(body)

    def place(self, row: Any, key: str) -> str:
        """An annotation for a sentence, with one of its values."""
        value = self.parsed(row)
        return f"{self.file(row)}: annotation {shown(value.get('id'))}, {key} {shown(value.get(key))}"

    def file(self, row: Any) -> str:
        """The name of the annotation file of an entry."""
        return self._names[int(row["source"])]

    def image_place(self, row: Any) -> str:
        """An image entry for a sentence."""
        image = self.parsed(row)
        return f"{self.file(row)}: image {shown(image['id'])}, file_name {shown(image['file_name'])}"


def without_repeated_images(images: NDArray[Any], bodies: Bodies, log: ProblemLog) -> NDArray[Any]:
    """The first image entry of each id in one file, because an annotation cannot say which of several it means."""
    order = np.lexsort((images["id"], images["source"]))
    later = order[equals_previous(images, order, ("id", "source"))]
    if not len(later):
        return images
    log.add("duplicate image id", lambda: bodies.image_place(images[later.min()]), count=len(later))
    return np.delete(images, later)


def merge_images(images: NDArray[Any], bodies: Bodies, codes: Codes, log: ProblemLog) -> NDArray[np.int64]:
    """Add the keys of later image entries for a file to the first one; returns the rows of the first ones."""
    order = np.argsort(images["file"], kind="stable")
    order = order[images["file"][order] >= 0]
    is_later = equals_previous(images, order, ("file",))
    in_one_file = equals_previous(images, order, ("file", "source"))
    first = _first_of_equals(order, is_later)
    differs = images["hash"][order] != images["hash"][first]
    places = np.flatnonzero(is_later & (in_one_file | differs))
    for place in places[np.argsort(order[places])]:
        row, first_row = images[order[place]], images[first[place]]
        if in_one_file[place]:
            log.add("image named twice", bodies.image_place(row))
        if bodies.read(row) != bodies.read(first_row):
            said, own = bodies.image_place(row), {"id", "file_name"}
            later = bodies.parsed(row)
            merged = _merged(bodies.parsed(first_row), later, own, "image entries differ", said, log)
            bodies.replace(first_row, merged)
            _describe(first_row, merged, codes)
    firsts: NDArray[np.int64] = order[~is_later]
    return firsts


def merge_annotations(objects: NDArray[Any], files: NDArray[np.int64], bodies: Bodies, log: ProblemLog) -> Flags:
    """Add the keys of an annotation to the one of an earlier file with the same id, picture and category, if any.

    files    (N,) int64, the file of each annotation, -1 for none

    Returns which of `objects` remain: (N,) bool.
    """
    is_kept = np.ones(len(objects), bool)
    order = np.flatnonzero((files >= 0) & (objects["id"] != NO_ID))
    keys = (objects["category"][order], objects["is_caption"][order], objects["id"][order], files[order])
    order = order[np.lexsort(keys)]
    is_later = equals_previous(objects, order, ("category", "is_caption", "id"))
    is_later[1:] &= files[order[1:]] == files[order[:-1]]
    first = _first_of_equals(order, is_later)
    places = np.flatnonzero(objects["source"][first] < objects["source"][order])
    for place in places[np.argsort(order[places])]:
        row, first_row = objects[order[place]], objects[first[place]]
        if bodies.read(row) != bodies.read(first_row):
            later = bodies.parsed(row)
            said = f"{bodies.file(row)}: annotation {shown(later['id'])}"
            merged = _merged(bodies.parsed(first_row), later, {"image_id"}, "annotations differ", said, log)
            bodies.replace(first_row, merged)
            first_row["names_itself"] = "category" in merged or "class" in merged
        is_kept[order[place]] = False
    return is_kept


def equals_previous(table: NDArray[Any], order: NDArray[np.int64], names: Collection[str]) -> Flags:
    """Whether each row in an order has the same values as the one before it: (rows,) bool, False for the first."""
    found = np.zeros(len(order), bool)
    found[1:] = True
    for name in names:
        column = table[name][order]
        found[1:] &= column[1:] == column[:-1]
    return found


def _first_of_equals(order: NDArray[np.int64], is_later: Flags) -> NDArray[np.int64]:
    """For each row in an order the first one that is equal to it."""
    first: NDArray[np.int64] = order[np.maximum.accumulate(np.where(is_later, 0, np.arange(len(order))))]
    return first


def _describe(row: Any, image: dict[str, Any], codes: Codes) -> None:
    """Update the row of an image entry that was merged."""
    width, height = image.get("width"), image.get("height")
    if type(width) is int and type(height) is int and width > 0 and height > 0:
        row["width"], row["height"], row["is_whole"] = width, height, True
    named = image.get("license")
    row["license"] = codes.of(int(named) if isinstance(named, bool) else named)


def _merged(
    first: dict[str, Any], later: dict[str, Any], own: Collection[str], kind: str, place: str, log: ProblemLog
) -> dict[str, Any]:
    """The first object with the keys that only the later one has.

    Values that differ are counted, except for the keys in `own`.
    """
    for key, value in later.items():
        if key in first and key not in own and first[key] != value:
            text = f"{place}, {shown(key)} {shown(value)}, before {shown(first[key])}"
            log.add(kind, text)
    return first | {key: value for key, value in later.items() if key not in first}
