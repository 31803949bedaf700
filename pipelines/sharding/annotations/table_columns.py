"""Shared by CSV and JSON Lines: limits, reserved column names, and the error for a missing key column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import SourceError
from ..wording import printable
from .problems import brief

__all__ = ["MOST_VALUE_BYTES", "RESERVED_COLUMNS", "missing_key_error"]

MOST_VALUE_BYTES = 1 << 24
"""The limit for one value of a CSV file, and for one line of JSON Lines."""

MOST_NAMED = 20
RESERVED_COLUMNS = frozenset(("image", "license", "captions", "annotations", "stored"))
"""Names that a record uses itself; a column of one of these names is left out."""


def missing_key_error(path: Path, key: str, columns: Sequence[str]) -> SourceError:
    """The error for a table without its key column; it names the columns that the table has."""
    named = ", ".join(brief(column, 40) or '""' for column in columns[:MOST_NAMED])
    more = f" and {len(columns) - MOST_NAMED:,} more" if len(columns) > MOST_NAMED else ""
    return SourceError(
        f"{printable(str(path))}: has no column {brief(key, 40)}. Its columns are {named or 'none'}{more}; name the "
        "one that holds the file names with --label-key."
    )
