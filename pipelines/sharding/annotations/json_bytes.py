"""JSON objects as bytes in ASCII, by orjson where it is installed: the form of everything in a store."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from ...storage.json_text import orjson_function

__all__ = ["to_bytes", "to_bytes_of_each"]

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False, allow_nan=False).encode


def to_bytes(value: Any) -> bytes:
    """The text of one parsed value, without spaces."""
    return to_bytes_of_each([value])[0]


def to_bytes_of_each(values: Sequence[Any]) -> list[bytes]:
    """The texts of many parsed values."""
    if (dumps := orjson_function("dumps")) is not None:
        with contextlib.suppress(TypeError):
            found: list[bytes] = list(map(dumps, values))
            if all(map(bytes.isascii, found)):
                return found
    return [_encode(value).encode("ascii") for value in values]
