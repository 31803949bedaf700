"""Writing the entries of annotation files and the rows of a table into a store, as they are read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..wording import printable
from .categories import CategoryEntry
from .coco_reading import read_coco
from .entry_checks import checked_annotation, is_caption, usable_id
from .matching import FileMatcher
from .problems import ProblemLog, shown
from .store_schema import to_text
from .table_reading import read_table

__all__ = ["EntryWriter"]

BATCH_ENTRIES = 1000
BATCH_CHARACTERS = 1 << 24
NOTHING_COVERED = (None,) * 5
INSERT_IMAGE = "INSERT INTO images VALUES (NULL, ?, ?, ?, ?, ?, ?)"
INSERT_ANNOTATION = "INSERT INTO annotations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
INSERT_BODY = "INSERT INTO bodies VALUES (?, ?)"


class EntryWriter:
    """Puts entries into the tables of an open store; what is wrong with them is counted in `log`."""

    def __init__(self, connection: sqlite3.Connection, matcher: FileMatcher, log: ProblemLog) -> None:
        self._connection, self._matcher, self._log = connection, matcher, log
        self.categories: list[CategoryEntry] = []
        self._images: list[tuple[Any, ...]] = []
        self._annotations: list[tuple[Any, ...]] = []
        self._bodies: list[tuple[int, str]] = []
        self._characters = 0
        self._row = 0
        self._source, self._name = 0, ""

    def add_file(self, source: int, path: Path) -> None:
        """All entries of one annotation file, the `source`-th. Raises what `read_coco` raises."""
        self._source, self._name = source, printable(path.name)
        num_categories = len(self.categories)
        add: dict[str, Callable[[dict[str, Any]], None]] = {
            "images": self._add_image,
            "annotations": self._add_annotation,
            "categories": self._add_category,
            "licenses": self._add_license,
        }
        for entry in read_coco(path, self._log):
            add[entry.section](entry.value)
        self._flush()
        has_categories = len(self.categories) > num_categories
        self._connection.execute("INSERT INTO sources VALUES (?, ?, ?)", (source, self._name, has_categories))

    def add_table(self, path: Path, key: str) -> None:
        """The rows of a table that name one file each. Raises what `read_table` raises."""
        for row in read_table(path, key, self._log):
            found = self._matcher.find_key(row.key)
            first = f"{row.place}: {shown(row.key)}"
            if len(found) != 1:
                self._log.add("ambiguous name" if found else "row without file", first)
                continue
            body = to_text(row.columns)
            added = self._connection.execute("INSERT OR IGNORE INTO rows VALUES (?, ?)", (found[0], body))
            self._log.add("second row", first, count=1 - added.rowcount)

    def _add_image(self, value: dict[str, Any]) -> None:
        number, file_name = usable_id(value.get("id")), value.get("file_name")

        def place() -> str:
            return f"{self._name}: image {shown(value.get('id'))}, file_name {shown(file_name)}"

        if number is None or not isinstance(file_name, str) or not file_name:
            return self._log.add("image entry", place)
        found = self._matcher.find(file_name)
        if not found:
            self._log.add("image not in folder", place)
        elif len(found) > 1:
            self._log.add("ambiguous name", place)
        width, height = (_side(value.get(key)) for key in ("width", "height"))
        if width is None or height is None:
            self._log.add("image size", place)
        file = found[0] if len(found) == 1 else None
        row = (self._source, number, file, width, height, to_text(value))
        self._images.append(row)
        if len(self._images) >= BATCH_ENTRIES:
            self._flush()
        return None

    def _add_annotation(self, value: dict[str, Any]) -> None:
        caption = is_caption(value)
        covered: tuple[Any, ...] = NOTHING_COVERED
        if caption and not isinstance(value["caption"], str):
            place = f"{self._name}: annotation {shown(value.get('id'))}, caption {shown(value['caption'])}"
            return self._log.add("bad caption", place)
        if not caption:
            extent = checked_annotation(value, self._name, self._log)
            if extent is None:
                return None
            covered = extent
        self._row += 1
        image, number, category = (usable_id(value.get(key)) for key in ("image_id", "id", "category_id"))
        self._annotations.append((self._row, self._source, image, number, caption, category, *covered))
        body = to_text(value)
        self._bodies.append((self._row, body))
        self._characters += len(body)
        if len(self._bodies) >= BATCH_ENTRIES or self._characters > BATCH_CHARACTERS:
            self._flush()
        return None

    def _add_category(self, value: dict[str, Any]) -> None:
        self.categories.append(CategoryEntry(self._source, self._name, value))

    def _add_license(self, value: dict[str, Any]) -> None:
        number = usable_id(value.get("id"))
        if number is not None:
            row = (self._source, number, to_text(value))
            self._connection.execute("INSERT OR IGNORE INTO licenses VALUES (?, ?, ?)", row)

    def _flush(self) -> None:
        self._connection.executemany(INSERT_IMAGE, self._images)
        self._connection.executemany(INSERT_ANNOTATION, self._annotations)
        self._connection.executemany(INSERT_BODY, self._bodies)
        self._images, self._annotations, self._bodies, self._characters = [], [], [], 0


def _side(value: Any) -> float | int | None:
    """A width or a height in pixels, if it can be one."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None
