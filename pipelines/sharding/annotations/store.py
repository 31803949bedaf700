"""A store of annotations, from which any process looks up the record of one file."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

from ...errors import SourceError
from ..wording import printable
from .categories import Category
from .store_schema import FORMAT, to_path_bytes

__all__ = ["AnnotationStore"]

IMAGES = "SELECT source, body FROM images WHERE file = ? ORDER BY row"
ANNOTATIONS = """
SELECT annotations.source, is_caption, category, bodies.body
FROM images JOIN annotations ON annotations.source = images.source AND annotations.image = images.id
JOIN bodies ON bodies.annotation = annotations.row
WHERE images.file = ? ORDER BY annotations.row
"""
ALL_SOURCES = -1


class AnnotationStore:
    """The records of files, read from a store that `build_store` wrote.

    It is opened where it is first used, once in each thread and process, and it may be pickled. Raises `SourceError`
    for a file that is not such a store.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._opened = threading.local()

    def __reduce__(self) -> tuple[type[AnnotationStore], tuple[Path]]:
        return type(self), (self._path,)

    @cached_property
    def categories(self) -> tuple[Category, ...]:
        """All categories, by id."""
        found = [_category(json.loads(body)) for (body,) in self._rows("SELECT body FROM categories")]
        return tuple(sorted(found, key=lambda one: one.id))

    def record(self, path: str) -> dict[str, Any] | None:
        """The record of a file of the listing, a JSON object; None where nothing is said of the file.

        The columns of its row in the table at the top level; "image", and "license" where its image names one that
        there is; "captions" and "annotations" where there is an image, with "category" and "class" in each annotation.
        """
        found = self._rows("SELECT number FROM files WHERE path = ?", to_path_bytes(path))
        if not found:
            return None
        number: int = found[0][0]
        record: dict[str, Any] = {}
        for (body,) in self._rows("SELECT body FROM rows WHERE file = ?", number):
            record.update(json.loads(body))
        images = self._rows(IMAGES, number)
        if images:
            record.update(self._picture(number, images))
        return record

    def close(self) -> None:
        """Close the store in this thread; it is opened again when it is used again."""
        connection = getattr(self._opened, "connection", None)
        if connection is not None and self._opened.process == os.getpid():
            connection.close()
        self._opened = threading.local()

    def _picture(self, number: int, images: list[Any]) -> dict[str, Any]:
        """What annotation files say of a file."""
        source, body = images[0]
        image = json.loads(body)
        found: dict[str, Any] = {"image": image}
        if isinstance(named := image.get("license"), int | str | float):
            query = "SELECT body FROM licenses WHERE source = ? AND id = ?"
            for (text,) in self._rows(query, source, named):
                found["license"] = json.loads(text)
        captions, annotations = list[dict[str, Any]](), list[dict[str, Any]]()
        for of_source, is_caption, category_id, text in self._rows(ANNOTATIONS, number):
            value = json.loads(text)
            if is_caption:
                captions.append(value)
                continue
            category = self._category_of(of_source, category_id)
            value["category"] = category.name if category else None
            value["class"] = category.class_number if category else -1
            annotations.append(value)
        return found | {"captions": captions, "annotations": annotations}

    def _category_of(self, source: int, category_id: Any) -> Category | None:
        sources, ids, by_id = self._meanings
        return by_id[category_id] if (source if sources[source] else ALL_SOURCES, category_id) in ids else None

    @cached_property
    def _meanings(self) -> tuple[dict[int, bool], frozenset[tuple[int, int]], dict[int, Category]]:
        """Whether each annotation file has categories, the ids that each explains, and all categories by id."""
        sources = {number: bool(has) for number, has in self._rows("SELECT number, has_categories FROM sources")}
        ids = frozenset((source, number) for source, number in self._rows("SELECT source, id FROM category_ids"))
        return sources, ids, {one.id: one for one in self.categories}

    def _rows(self, query: str, *values: Any) -> list[Any]:
        try:
            return self._connection().execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise SourceError(
                f"{printable(str(self._path))}: cannot be read as a store of annotations ({error}). Build it again."
            ) from error

    def _connection(self) -> sqlite3.Connection:
        """The connection of this thread and process: one that came with a fork belongs to another process."""
        if getattr(self._opened, "process", None) != os.getpid():
            connection = sqlite3.connect(f"{self._path.as_uri()}?mode=ro&immutable=1", uri=True)
            connection.execute("PRAGMA mmap_size = 1099511627776")
            formats = connection.execute("SELECT name FROM format").fetchall()
            if formats != [(FORMAT,)]:
                connection.close()
                raise sqlite3.DatabaseError("it is of another version")
            self._opened.connection, self._opened.process = connection, os.getpid()
        connection = self._opened.connection
        assert isinstance(connection, sqlite3.Connection)
        return connection


def _category(value: dict[str, Any]) -> Category:
    skeleton = tuple((first, second) for first, second in value["skeleton"])
    return Category(**value | {"keypoints": tuple(value["keypoints"]), "skeleton": skeleton})
