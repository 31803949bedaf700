"""Checks of a store by joins, once all entries are in it: annotations with their images, categories and masks."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from .problems import ProblemLog, shown
from .store_schema import to_text

__all__ = ["check_annotations", "check_categories", "count_repeated_annotations"]

WITHOUT_IMAGE = "images.row IS NULL"
BOX_OUTSIDE = "(least < -1 OR right > width + 1 OR bottom > height + 1)"
OTHER_MASK_SIZE = "(mask_height <> height OR mask_width <> width)"
JOINED = "annotations LEFT JOIN images ON images.source = annotations.source AND images.id = annotations.image"
OF_KINDS = (
    ("unknown image", WITHOUT_IMAGE, "image_id"),
    ("box outside", BOX_OUTSIDE, "bbox"),
    ("mask size", OTHER_MASK_SIZE, "segmentation"),
)
ANNOTATION = """
SELECT sources.name, bodies.body FROM annotations JOIN sources ON sources.number = annotations.source
JOIN bodies ON bodies.annotation = annotations.row WHERE annotations.row = ?
"""
REPEATED = """
SELECT sum(num - 1), min(first) FROM (
    SELECT count(*) AS num, min(row) AS first FROM annotations WHERE id IS NOT NULL
    GROUP BY source, is_caption, id HAVING count(*) > 1)
"""
UNKNOWN_CATEGORIES = """
SELECT count(*), min(row) FROM annotations JOIN sources ON sources.number = annotations.source
LEFT JOIN category_ids ON category_ids.id = category AND
    category_ids.source = CASE WHEN has_categories THEN annotations.source ELSE -1 END
WHERE NOT is_caption AND category IS {} NULL AND category_ids.id IS NULL
"""


def check_annotations(connection: sqlite3.Connection, log: ProblemLog) -> None:
    """Count annotations without an image, boxes outside of theirs, and masks of another size, which become null."""
    columns = ", ".join(
        f"count(*) FILTER (WHERE {is_so}), min(annotations.row) FILTER (WHERE {is_so})" for _, is_so, _ in OF_KINDS
    )
    counts = connection.execute(f"SELECT {columns} FROM {JOINED}").fetchone()
    for place, (kind, is_so, key) in enumerate(OF_KINDS):
        num, first = counts[2 * place : 2 * place + 2]
        if num:
            log.add(kind, _place(connection, first, key), count=num)
        if num and kind == "mask size":
            _empty_masks(connection, is_so)


def count_repeated_annotations(connection: sqlite3.Connection, log: ProblemLog) -> None:
    """Count annotations with the id of an earlier one in the same file."""
    num, first = connection.execute(REPEATED).fetchone()
    log.add("duplicate annotation id", lambda: _place(connection, first, "image_id"), count=num or 0)


def check_categories(connection: sqlite3.Connection, log: ProblemLog) -> int:
    """Count annotations whose category is unknown; how many have none at all is the result."""
    num, first = connection.execute(UNKNOWN_CATEGORIES.format("NOT")).fetchone()
    log.add("unknown category", lambda: _place(connection, first, "category_id"), count=num)
    (num_without, _) = connection.execute(UNKNOWN_CATEGORIES.format("")).fetchone()
    return int(num_without)


def _empty_masks(connection: sqlite3.Connection, is_so: str) -> None:
    """Set the segmentation of such annotations to null."""
    connection.execute(f"CREATE TEMP TABLE emptied AS SELECT annotations.row FROM {JOINED} WHERE {is_so}")
    for (row,) in connection.execute("SELECT * FROM emptied"):
        (body,) = connection.execute("SELECT body FROM bodies WHERE annotation = ?", (row,)).fetchone()
        emptied = to_text(json.loads(body) | {"segmentation": None})
        connection.execute("UPDATE bodies SET body = ? WHERE annotation = ?", (emptied, row))
    connection.execute("DROP TABLE emptied")


def _place(connection: sqlite3.Connection, row: int, key: str) -> str:
    """An annotation for a sentence, with one of its values."""
    name, body = connection.execute(ANNOTATION, (row,)).fetchone()
    value: dict[str, Any] = json.loads(body)
    return f"{name}: annotation {shown(value.get('id'))}, {key} {shown(value.get(key))}"
