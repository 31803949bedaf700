"""JSON objects as bytes in ASCII, by orjson where it is installed: the form of everything in a store."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

__all__ = ["orjson_function", "to_bytes", "to_bytes_of_each"]

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False, allow_nan=False).encode


@cache
def orjson_function(name: str) -> Callable[[Any], Any] | None:
    """The function of orjson with this name, None where it is not installed."""
    try:
        import orjson
    except ImportError:
        return None
    found: Callable[[Any], Any] = getattr(orjson, name)
    return found


def to_bytes(value: Any) -> bytes:
    """One value that came out of a parser, without spaces."""
    return to_bytes_of_each([value])[0]


def to_bytes_of_each(values: Sequence[Any]) -> list[bytes]:
    """Each of many values."""
    if (dumps := orjson_function("dumps")) is not None:
        with contextlib.suppress(TypeError):
            found: list[bytes] = list(map(dumps, values))
            if all(map(bytes.isascii, found)):
                return found
    return [_encode(value).encode("ascii") for value in values]
