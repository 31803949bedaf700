"""Rows of a CSV file with a header; each column has one type, which all of its values decide."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ...errors import SourceError
from ...storage.plain_files import open_plain
from ..wording import printable
from .problems import ProblemLog, shown
from .table_columns import MOST_VALUE_BYTES, RESERVED_COLUMNS, missing_key_error

__all__ = ["read_csv"]

DELIMITERS = (",", ";", "\t")
INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
LONG_INTEGER = re.compile(r"-?[0-9]{19,}")
NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

LINE_END = re.compile(r"\r\n?|\n")
END = "\x00end of the table\x00"
"""A line after the last one: it becomes part of the last value only if a quote is still open."""

ColumnType = type[int] | type[float] | type[str]


@dataclass(frozen=True)
class _Header:
    """The delimiter of a file, the names of its columns, and the number of the key column."""

    delimiter: str
    names: tuple[str, ...]
    key: int


def read_csv(path: Path, key: str, log: ProblemLog) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """(line, value of the key, columns) of each row; the file is read twice, first for the types of its columns.

    A column of whole numbers without leading zeros is int, one of finite numbers float, any other a text; an empty
    value is None. The key column is a text. Raises `SourceError` for a file without the key column.
    """
    header = _header(path, key)
    left_out = _left_out(header, printable(path.name), log)
    types = _column_types(path, header)
    kept = [number for number in range(len(header.names)) if number not in left_out]
    for line, row in _rows(path, header.delimiter):
        if len(row) != len(header.names):
            first = f"{printable(path.name)}, line {line:,}: {len(row)} instead of {len(header.names)}"
            log.add("row length", first)
            continue
        columns = {header.names[n]: types[n](row[n]) if row[n] else None for n in kept}
        yield line, row[header.key], columns


def _header(path: Path, key: str) -> _Header:
    """The header, with the first delimiter that finds the key column. Raises `SourceError` if none does."""
    found: list[_Header] = []
    for delimiter in DELIMITERS:
        names = next(_rows(path, delimiter, with_header=True), (0, list[str]()))[1]
        if key in names:
            return _Header(delimiter, tuple(names), names.index(key))
        found.append(_Header(delimiter, tuple(names), -1))
    raise missing_key_error(path, key, max(found, key=lambda one: len(one.names)).names)


def _left_out(header: _Header, name: str, log: ProblemLog) -> set[int]:
    """The numbers of columns whose names cannot be used."""
    left_out = set[int]()
    for number, column in enumerate(header.names):
        is_repeated = column in header.names[:number]
        if not column.strip() or is_repeated or column in RESERVED_COLUMNS:
            left_out.add(number)
            first = f"{name}: column {number + 1}, {shown(column)}"
            log.add("column name", first)
    return left_out


def _column_types(path: Path, header: _Header) -> list[ColumnType]:
    """The type of each column, from all rows."""
    types: list[ColumnType] = [int] * len(header.names)
    types[header.key] = str
    for _, row in _rows(path, header.delimiter):
        if len(row) == len(types):
            types = [_narrowed(one, value) for one, value in zip(types, row, strict=True)]
    return types


def _narrowed(before: ColumnType, value: str) -> ColumnType:
    """The type of a column after one more of its values."""
    if before is str or not value or (before is int and INTEGER.fullmatch(value)):
        return before
    if LONG_INTEGER.fullmatch(value) or not NUMBER.fullmatch(value) or not math.isfinite(float(value)):
        return str
    return float


def _rows(path: Path, delimiter: str, *, with_header: bool = False) -> Iterator[tuple[int, list[str]]]:
    """(line where it ends, values) of each row that is not blank."""
    is_header = not with_header
    with open(open_plain(path), encoding="utf-8-sig", newline="") as file, _long_values():
        reader, begin = csv.reader(chain(file, [END]), delimiter=delimiter), 1
        try:
            for row in reader:
                if row and row[-1].endswith(END):
                    if row == [END]:
                        return
                    raise _endless(path, begin, row)
                if row and not is_header:
                    yield reader.line_num, row
                is_header = is_header and not row
                begin = reader.line_num + 1
        except csv.Error as error:
            place = f"{printable(str(path))}: what begins in line {begin:,}"
            raise SourceError(f"{place} cannot be read as CSV ({error}). Correct its quotes.") from error


def _endless(path: Path, begin: int, row: list[str]) -> SourceError:
    """The error for a quote in the last value of a row, which begins in line `begin`, that is still open at the end."""
    line = begin + sum(len(LINE_END.findall(value)) for value in row[:-1])
    return SourceError(f"{printable(str(path))}: the quote that begins in line {line:,} does not end. Close it.")


@contextmanager
def _long_values() -> Iterator[None]:
    """Values of up to 16 MiB while a file is read; the limit belongs to the whole process."""
    before = csv.field_size_limit(MOST_VALUE_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(before)
