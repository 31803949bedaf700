"""What both forms of a table have in common: the names that are taken, and the error of a missing key column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import SourceError
from ..wording import printable
from .problems import brief

__all__ = ["MOST_VALUE_BYTES", "RESERVED_COLUMNS", "without_key"]

MOST_VALUE_BYTES = 1 << 24
"""Of one value of a CSV file, and of one line of JSON Lines."""

MOST_NAMED = 20
RESERVED_COLUMNS = frozenset(("image", "license", "captions", "annotations", "stored"))
"""Names that a record uses itself; a column of one of these names is left out."""


def without_key(path: Path, key: str, columns: Sequence[str]) -> SourceError:
    """The error for a table without its key column, which names those that there are."""
    named = ", ".join(brief(column, 40) or '""' for column in columns[:MOST_NAMED])
    more = f" and {len(columns) - MOST_NAMED:,} more" if len(columns) > MOST_NAMED else ""
    return SourceError(
        f"{printable(str(path))}: has no column {brief(key, 40)}. Its columns are {named or 'none'}{more}; name the "
        "one that holds the file names with --label-key."
    )
