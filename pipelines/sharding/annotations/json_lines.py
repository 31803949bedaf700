"""Rows of a JSON Lines file: one object in each line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import SourceError
from ...storage.plain_files import open_plain
from ..wording import printable
from .problems import ProblemLog, brief, shown
from .table_columns import MOST_VALUE_BYTES, RESERVED_COLUMNS, missing_key_error

__all__ = ["read_json_lines"]

MOST_COLUMNS_SEEN = 1000


def read_json_lines(path: Path, key: str, log: ProblemLog) -> Iterator[tuple[int, Any, dict[str, Any]]]:
    """(line, value of the key, columns) of each object. Raises `SourceError`; at the end, if none has the key."""
    name, seen, clashing, has_key = printable(path.name), dict[str, None](), dict[str, None](), False
    first = ""
    for number, line in _lines(path):
        row = _parsed(line, f"{name}, line {number:,}", log)
        if row is None:
            first = first or f"line {number:,} is not a JSON object ({brief(line.strip(), 60)})"
            continue
        if len(seen) < MOST_COLUMNS_SEEN:
            seen.update(dict.fromkeys(row))
        has_key |= key in row
        value = row.get(key)
        for column in RESERVED_COLUMNS & row.keys():
            del row[column]
            clashing[column] = None
        yield number, value if isinstance(value, str | int) else None, row
    if not seen:
        raise SourceError(
            f"{printable(str(path))}: {first or 'it is empty'}. JSON Lines have one object in each line; give a table "
            "of another form the suffix .csv."
        )
    if not has_key:
        raise missing_key_error(path, key, list(seen))
    for column in clashing:
        log.add("column name", f"{name}: column {shown(column)}")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of each line that is not blank."""
    with open(open_plain(path), encoding="utf-8-sig", newline="\n") as file:
        number = 0
        while line := file.readline(MOST_VALUE_BYTES):
            number += 1
            if len(line) == MOST_VALUE_BYTES:
                raise SourceError(
                    f"{printable(str(path))}: line {number:,} has more than {MOST_VALUE_BYTES >> 20} MiB. Leave it out."
                )
            if not line.isspace():
                yield number, line


def _parsed(line: str, place: str, log: ProblemLog) -> dict[str, Any] | None:
    """The object in a line, None if it has none; numbers that are not finite become None."""

    def number(text: str) -> float | None:
        value = float(text)
        if math.isfinite(value):
            return value
        log.add("not finite", lambda: f"{place}: {brief(text, 40)}")
        return None

    try:
        row = json.loads(line, parse_constant=number, parse_float=number)
    except (ValueError, RecursionError):
        row = None
    if isinstance(row, dict):
        return row
    log.add("bad row", lambda: f"{place}: {brief(line.strip(), 60)}")
    return None
