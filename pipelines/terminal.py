"""What command lines share."""

from __future__ import annotations

import io
import sys

__all__ = ["escape_unencodable"]


def escape_unencodable() -> None:
    """From now on, print characters that the encoding of a terminal or log lacks as escapes, such as `\\u65e5`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
