"""JSON of others, refused in this library's own words."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["parse_json"]


def parse_json(content: bytes | str) -> Any:
    """What a JSON text says. Raises `ValueError` for any other text, and for one that Python cannot hold."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError as error:  # Python's limit on digits, with advice on how to lift it
        raise ValueError("a number in it has too many digits") from error
