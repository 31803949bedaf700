"""Reading a table of labels row by row, whatever its size: CSV with a header, or JSON Lines."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import SourceError
from ...storage.plain_files import open_plain
from ..wording import printable
from .csv_columns import read_csv
from .json_lines import read_json_lines
from .problems import ProblemLog

__all__ = ["TableRow", "read_table"]

SUFFIXES = {".csv": False, ".tsv": False, ".jsonl": True, ".ndjson": True}


class TableRow(NamedTuple):
    """One row: where it stands, for sentences; the value of its key column; and its columns."""

    place: str
    key: str
    columns: dict[str, Any]


def read_table(path: Path, key: str, log: ProblemLog) -> Iterator[TableRow]:
    """The rows of a table that have a key, in order. Memory is bounded by the longest row.

    CSV (`,`, `;` or tab between the columns, UTF-8): `read_csv` decides the types of the columns. JSON Lines: values
    are as they stand there, NaN and Infinity None. A column with a name that records use themselves is left out.

    Raises `SourceError` for a file that cannot be read, is not such a table, or has no key column.
    """
    name = printable(path.name)
    try:
        rows = read_json_lines(path, key, log) if _is_json_lines(path) else read_csv(path, key, log)
        for line, value, columns in rows:
            place = f"{name}, line {line:,}"
            if value is None or value == "":
                log.add("row without key", place)
            else:
                yield TableRow(place, str(value), columns)
    except OSError as error:
        raise SourceError(f"{printable(str(path))}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{printable(str(path))}: not a text in UTF-8. A table is a CSV file with a header or JSON Lines; save it "
            "as one of them."
        ) from error


def _is_json_lines(path: Path) -> bool:
    """Whether a table is JSON Lines: by its suffix, else by what it begins with."""
    by_suffix = SUFFIXES.get(path.suffix.lower())
    if by_suffix is not None:
        return by_suffix
    with open(open_plain(path), "rb") as file:
        head = file.read(1 << 12).removeprefix(BOM_UTF8).lstrip()
    if head.startswith(b"["):
        raise SourceError(
            f"{printable(str(path))}: one JSON list is not a table. Write one object in each line (JSON Lines)."
        )
    return head.startswith(b"{")
