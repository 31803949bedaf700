"""The addresses of the application: its files, its state, and one address for each answer."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dirvae.explorer.desk import Desk
from dirvae.explorer.fields import RefusedError, json_fields, text_of, whole_number
from dirvae.explorer.worker import SupersededError
from dirvae.web import Sentence, package_files

__all__ = ["FILES", "application_routes"]

SCRIPTS = (
    *(
        "api",
        "between",
        "choosing",
        "compare",
        "components",
        "dom",
        "explore",
        "exporting",
        "history",
        "main",
        "map",
    ),
    *("media", "newest", "placing", "pointers", "shares", "sheets", "simplex", "steer", "thumbnails", "upload"),
)
FILES = {
    f"/{name}": name for name in ("icon.svg", "style.css", "views.css", *(f"{script}.js" for script in SCRIPTS))
}
"""Address → file of the page; there are no others."""

ANSWERS = {
    "/api/about": "answers:about",
    "/api/component": "views:component",
    "/api/decode": "answers:decode",
    "/api/explore": "views:explore",
    "/api/export": "answers:exported",
    "/api/latent": "answers:latent",
    "/api/map": "views:set_map",
    "/api/original": "answers:original",
    "/api/path": "views:path",
    "/api/thumbnails": "answers:thumbnails",
}
"""Address → module and function of this package, imported at the first request, so that the page is there first."""

MOST_NAME = 200
UPLOAD_SECONDS = 20.0
"""How long a file may take to be read and encoded."""
SLOW = ("/api/export", "/api/map", "/api/thumbnails")
WEBP = "image/webp"
MEDIA_TYPE = "application/octet-stream"


def application_routes(desk: Desk) -> list[Route]:
    """All routes of an application, for `dirvae.web.start`."""
    return [
        *package_files("dirvae.explorer.page", {"/": "index.html", **FILES}),
        Route("/api/state", _state(desk), methods=["GET"]),
        Route("/api/upload", _upload(desk), methods=["POST"]),
        *(Route(path, _answer(desk, path), methods=["POST"]) for path in ANSWERS),
    ]


def _state(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def state(request: Request) -> Response:
        desk.begin()
        labels = [one.label for one in desk.opens]
        facts = {"stage": desk.stage, "failure": desk.failure, "ready": bool(desk.runs), "whole": desk.is_whole}
        content = {**facts, "labels": labels}
        return Response(json.dumps(content), media_type="application/json")

    return state


def _answer(desk: Desk, path: str) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that checks a request, computes on a worker, and sends the result or an error of one sentence."""
    module, _, function = ANSWERS[path].partition(":")

    def make(fields: dict[str, Any]) -> Any:
        return getattr(importlib.import_module(f"dirvae.explorer.{module}"), function)(desk, fields)

    async def answer(request: Request) -> Response:
        try:
            fields = await json_fields(request)
            if "lane" in fields:
                lane, sequence = text_of(fields, "lane"), whole_number(fields, "sequence", below=1 << 53)
                future: Future[Any] = desk.worker.submit_newest(lane, sequence, lambda: make(fields))
            else:
                if not desk.runs:
                    raise RefusedError(desk.failure or "The model is not loaded yet.", 503)
                worker = desk.pictures if path in SLOW else desk.worker
                future = worker.submit(lambda: make(fields))
            return _response(path, await asyncio.wrap_future(future))
        except SupersededError:
            return Sentence(409, "A newer request came first.", superseded=True)
        except RefusedError as error:
            return Sentence(error.status, str(error))

    return answer


def _response(path: str, made: Any) -> Response:
    if isinstance(made, tuple):
        content, media_type, name = made
        disposition = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
        return Response(content, media_type=media_type, headers=disposition)
    if isinstance(made, dict):
        return Response(json.dumps(made, allow_nan=False), media_type="application/json")
    return Response(made, media_type=WEBP if path == "/api/thumbnails" else MEDIA_TYPE)


def _upload(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that takes the bytes of one file, and its name in the header X-File-Name, percent-encoded."""
    running: list[Future[bytes]] = []

    async def upload(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip() != MEDIA_TYPE:
            return Sentence(415, f"The request must be of the type {MEDIA_TYPE}.")
        if any(not one.done() for one in running):
            return Sentence(429, "Another file is still being read. Wait a moment, then upload this one again.")
        name = unquote(request.headers.get("x-file-name", ""), errors="replace")[-MOST_NAME:] or "file"
        from dirvae.explorer.uploads import encode_upload

        content = await request.body()
        running[:] = [desk.reader.submit(encode_upload, desk, content, name)]
        try:
            made = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(running[0])), UPLOAD_SECONDS)
        except TimeoutError:
            return Sentence(
                422, f"The file was not read within {UPLOAD_SECONDS:.0f} seconds. Upload a smaller one."
            )
        except RefusedError as error:
            return Sentence(error.status, str(error))
        return Response(made, media_type=MEDIA_TYPE)

    return upload
