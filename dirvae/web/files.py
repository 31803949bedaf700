"""The responses of a guarded server: listed files, and errors of one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

__all__ = ["Sentence", "file_route", "package_files"]

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Suffix of a file of a page → its media type."""


class Sentence(JSONResponse):
    """An error response of one sentence: `{"error": sentence}`."""

    def __init__(self, status_code: int, sentence: str, **more: Any) -> None:
        super().__init__({"error": sentence, **more}, status_code=status_code)


def package_files(package: str, table: Mapping[str, str]) -> list[Route]:
    """A route for every entry of the table (path of the address → file of the package); files are read once, now."""
    folder = files(package)
    return [file_route(path, folder.joinpath(name).read_bytes(), name) for path, name in table.items()]


def file_route(path: str, content: bytes, name: str) -> Route:
    """The route of one file; its media type follows from its name. Raises `KeyError` for an unknown suffix."""
    media_type = MEDIA_TYPES[name[name.rindex(".") :]]

    async def answer(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return Route(path, answer, methods=["GET"])
