"""The fields of a request: JSON values, checked before they are used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

__all__ = ["RefusedError", "json_fields", "text_of", "whole_number"]


class RefusedError(Exception):
    """A refused request; the text is a sentence for the page, `status` the HTTP status."""

    def __init__(self, sentence: str, status: int = 422) -> None:
        super().__init__(sentence)
        self.status = status


async def json_fields(request: Request) -> dict[str, Any]:
    """The JSON object of a request. Raises `RefusedError` for another content type or other content."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise RefusedError("The request must be of the type application/json.", 415)
    try:
        fields = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise RefusedError("The request is not JSON.", 400) from None
    if not isinstance(fields, dict):
        raise RefusedError("The request is not a JSON object.", 400)
    return fields


def whole_number(fields: Mapping[str, Any], name: str, *, below: int, default: int | None = None) -> int:
    """A whole number, 0 or more and less than `below`."""
    value = fields.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < below:
        raise RefusedError(f"{name} must be a whole number from 0 to {below - 1}.")
    return value


def text_of(fields: Mapping[str, Any], name: str, *, most: int = 200) -> str:
    """A text of at most `most` characters."""
    value = fields.get(name)
    if not isinstance(value, str) or len(value) > most:
        raise RefusedError(f"{name} must be a text of at most {most} characters.")
    return value
