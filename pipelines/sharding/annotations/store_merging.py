"""Joining what several annotation files, or several entries of one, say of the same picture."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from typing import Any

from .problems import ProblemLog, shown
from .store_schema import to_text

__all__ = ["drop_repeated_images", "merge_annotations", "merge_images"]

REPEATED_IDS = """
SELECT later.row FROM images later
WHERE EXISTS (SELECT 1 FROM images first WHERE first.source = later.source AND first.id = later.id
              AND first.row < later.row)
"""
LATER_IMAGES = """
SELECT later.row, min(first.row), max(first.source = later.source)
FROM images later JOIN images first ON first.file = later.file AND first.row < later.row GROUP BY later.row
"""
SAME_ANNOTATIONS = """
SELECT later.row, min(first.row)
FROM annotations later
JOIN images AS later_image ON later_image.source = later.source AND later_image.id = later.image
JOIN images AS first_image ON first_image.file = later_image.file AND first_image.source < later.source
JOIN annotations first ON first.source = first_image.source AND first.image = first_image.id
WHERE first.id = later.id AND first.is_caption = later.is_caption AND first.category IS later.category
GROUP BY later.row
"""
IMAGE = "SELECT sources.name, body FROM images JOIN sources ON number = source WHERE row = ?"
ANNOTATION = """
SELECT sources.name, body FROM annotations JOIN sources ON number = source JOIN bodies ON annotation = row WHERE row = ?
"""


def drop_repeated_images(connection: sqlite3.Connection, log: ProblemLog) -> None:
    """Keep the first image entry of each id in one file: which of them an annotation means cannot be known."""
    for (row,) in _stored(connection, REPEATED_IDS):
        name, body = connection.execute(IMAGE, (row,)).fetchone()
        log.add("duplicate image id", _image_place(name, json.loads(body)))
        connection.execute("DELETE FROM images WHERE row = ?", (row,))


def merge_images(connection: sqlite3.Connection, log: ProblemLog) -> None:
    """Add the keys of later image entries for a file to the first one, which stands for all of them."""
    for row, first_row, in_one_file in _stored(connection, LATER_IMAGES):
        name, body = connection.execute(IMAGE, (row,)).fetchone()
        _, first_body = connection.execute(IMAGE, (first_row,)).fetchone()
        if in_one_file:
            log.add("image named twice", _image_place(name, json.loads(body)))
        if body != first_body:
            later = json.loads(body)
            place, own = _image_place(name, later), {"id", "file_name"}
            merged = _merged(json.loads(first_body), later, own, "image entries differ", place, log)
            connection.execute("UPDATE images SET body = ? WHERE row = ?", (to_text(merged), first_row))


def merge_annotations(connection: sqlite3.Connection, log: ProblemLog) -> None:
    """Add the keys of an annotation to that of an earlier file with the same id, picture and category, if any."""
    for row, first_row in _stored(connection, SAME_ANNOTATIONS):
        name, body = connection.execute(ANNOTATION, (row,)).fetchone()
        _, first_body = connection.execute(ANNOTATION, (first_row,)).fetchone()
        if body != first_body:
            later = json.loads(body)
            place = f"{name}: annotation {shown(later['id'])}"
            merged = _merged(json.loads(first_body), later, {"image_id"}, "annotations differ", place, log)
            connection.execute("UPDATE bodies SET body = ? WHERE annotation = ?", (to_text(merged), first_row))
        connection.execute("DELETE FROM annotations WHERE row = ?", (row,))
        connection.execute("DELETE FROM bodies WHERE annotation = ?", (row,))


def _stored(connection: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query as they are now, in order, while tables change; they are kept on the disk."""
    connection.execute(f"CREATE TEMP TABLE found AS {query} ORDER BY 1")
    try:
        yield from connection.execute("SELECT * FROM found ORDER BY rowid")
    finally:
        connection.execute("DROP TABLE found")


def _merged(
    first: dict[str, Any], later: dict[str, Any], own: Collection[str], kind: str, place: str, log: ProblemLog
) -> dict[str, Any]:
    """The first object with the keys that only the later one has.

    Values that differ are counted, but for keys that every file has for itself.
    """
    for key, value in later.items():
        if key in first and key not in own and first[key] != value:
            text = f"{place}, {shown(key)} {shown(value)}, before {shown(first[key])}"
            log.add(kind, text)
    return first | {key: value for key, value in later.items() if key not in first}


def _image_place(name: str, image: dict[str, Any]) -> str:
    return f"{name}: image {shown(image['id'])}, file_name {shown(image['file_name'])}"
