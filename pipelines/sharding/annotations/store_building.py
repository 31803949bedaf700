"""Building a store of annotations from annotation files and a table, in bounded memory, and what was found."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

from ...errors import ShardingError, SourceError
from ...storage.plain_files import open_plain
from ..wording import printable
from .categories import Category, number_categories
from .entry_writing import EntryWriter
from .matching import FileMatcher
from .problems import Problem, ProblemLog
from .store_checks import check_annotations, check_categories, count_repeated_annotations
from .store_merging import drop_repeated_images, merge_annotations, merge_images
from .store_schema import FORMAT, INDEXES, TABLES, to_path_bytes

__all__ = ["StoreReport", "build_store", "file_digest"]

NONE_KNOWN: Mapping[int, int] = MappingProxyType({})
BUILDING = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE; PRAGMA page_size = 8192;
PRAGMA cache_size = -65536; PRAGMA temp_store = FILE;
"""
OF_FILES = """
SELECT count(*) FILTER (WHERE NOT is_caption), count(*) FILTER (WHERE is_caption) FROM annotations
JOIN images ON images.source = annotations.source AND images.id = annotations.image WHERE file IS NOT NULL
"""
ANNOTATED = """
SELECT count(DISTINCT file) FROM images WHERE file IS NOT NULL
AND EXISTS (SELECT 1 FROM annotations WHERE annotations.source = images.source AND annotations.image = images.id)
"""


@dataclass(frozen=True)
class StoreReport:
    """What is in a store: files with a record, and what these records hold; what is wrong and what is remarkable."""

    problems: tuple[Problem, ...]
    remarks: tuple[str, ...]
    categories: tuple[Category, ...]
    num_records: int
    num_images: int
    num_annotations: int
    num_captions: int
    num_rows: int


def build_store(
    path: Path,
    *,
    annotations: Sequence[Path],
    table: Path | None,
    key: str,
    files: Sequence[str],
    known_classes: Mapping[int, int] = NONE_KNOWN,
) -> StoreReport:
    """Write the store of these annotation files and this table to `path`, which is there whole or not at all.

    `files` are the paths of the listing, `key` the column of the table that names them, `known_classes` the numbers
    that category ids have already. Peak memory: about 100 MB and 400 bytes for each file of the listing.

    Raises `SourceError` for an input that cannot be used at all, `ShardingError` where the store cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.unlink(missing_ok=True)
        connection = sqlite3.connect(beside, isolation_level=None)
        try:
            connection.executescript(BUILDING + TABLES)
            connection.execute("BEGIN")
            with _without_collecting():
                report = _Building(connection, files).run(annotations, table, key, known_classes)
            connection.execute("COMMIT")
        finally:
            connection.close()
        beside.replace(path)
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ShardingError(
            f"{printable(str(path))}: cannot be written ({reason or error}). Make room there."
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    return report


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits. Raises `SourceError` for one that cannot be read."""
    try:
        with open(open_plain(path), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"{printable(str(path))}: cannot be read ({error.strerror or error}).") from error


@contextmanager
def _without_collecting() -> Iterator[None]:
    """No search for circles while values are parsed: there are none among them, and it takes a tenth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Building:
    """The steps from an empty store to a complete one."""

    def __init__(self, connection: sqlite3.Connection, files: Sequence[str]) -> None:
        self._connection, self._files, self._log = connection, files, ProblemLog()
        self._writer = EntryWriter(connection, FileMatcher(files), self._log)

    def run(
        self, annotations: Sequence[Path], table: Path | None, key: str, known_classes: Mapping[int, int]
    ) -> StoreReport:
        """Fill the store."""
        for source, path in enumerate(annotations):
            self._writer.add_file(source, path)
        if table is not None:
            self._writer.add_table(table, key)
        for statement in INDEXES:
            self._connection.execute(statement)
        categories = self._add_categories(known_classes)
        drop_repeated_images(self._connection, self._log)
        check_annotations(self._connection, self._log)
        count_repeated_annotations(self._connection, self._log)
        num_without_category = check_categories(self._connection, self._log)
        merge_images(self._connection, self._log)
        if len(annotations) > 1:
            merge_annotations(self._connection, self._log)
        self._add_files()
        self._connection.execute("INSERT INTO format VALUES (?)", (FORMAT,))
        return self._report(categories, num_without_category, bool(annotations), table is not None)

    def _add_categories(self, known_classes: Mapping[int, int]) -> tuple[Category, ...]:
        """Number the categories, and note which ids each file explains; -1 stands for all files together."""
        numbered = number_categories(self._writer.categories, known_classes, self._log)
        rows = [(one.class_number, json.dumps(asdict(one))) for one in numbered.categories]
        self._connection.executemany("INSERT INTO categories VALUES (?, ?)", rows)
        ids = numbered.ids | {(-1, one.id) for one in numbered.categories}
        self._connection.executemany("INSERT INTO category_ids VALUES (?, ?)", sorted(ids))
        return numbered.categories

    def _add_files(self) -> None:
        """The paths of the files that have a record, by which they are looked up."""
        query = "SELECT DISTINCT file FROM images WHERE file IS NOT NULL UNION SELECT file FROM rows"
        numbers = self._connection.execute(query)
        rows = ((number, to_path_bytes(self._files[number])) for (number,) in numbers)
        self._connection.executemany("INSERT INTO files VALUES (?, ?)", rows)
        self._connection.execute("CREATE UNIQUE INDEX files_by_path ON files (path)")

    def _report(
        self, categories: tuple[Category, ...], num_without_category: int, has_annotations: bool, has_table: bool
    ) -> StoreReport:
        num_annotations, num_captions = self._connection.execute(OF_FILES).fetchone()
        num_records = self._number("SELECT count(*) FROM files")
        num_images = self._number("SELECT count(DISTINCT file) FROM images WHERE file IS NOT NULL")
        num_annotated, num_rows = self._number(ANNOTATED), self._number("SELECT count(*) FROM rows")
        remarks = (
            (
                has_annotations,
                len(self._files) - num_images,
                "file is in no annotation file",
                "files are in no annotation file",
            ),
            (
                has_annotations,
                num_images - num_annotated,
                "picture has no annotation",
                "pictures have no annotation",
            ),
            (True, num_without_category, "annotation has no category", "annotations have no category"),
            (
                has_table,
                len(self._files) - num_rows,
                "file has no row in the table",
                "files have no row in the table",
            ),
        )
        said = tuple(f"{num:,} {one if num == 1 else many}." for asked, num, one, many in remarks if asked and num)
        return StoreReport(
            self._log.problems(), said, categories, num_records, num_images, num_annotations, num_captions, num_rows
        )

    def _number(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])
