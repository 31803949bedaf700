"""`--live`: the report of a run, served on 127.0.0.1 while it trains, for reading only.

The page asks for the state every two seconds. Nothing is computed for it: for each request the server reads the step of
the trainer and the files that the training writes anyway.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from dirvae.training.errors import ConfigError
from dirvae.training.logging import finite_or_none

if TYPE_CHECKING:
    from types import TracebackType

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from dirvae.web import RunningServer

__all__ = ["LiveView", "Training", "newest_line"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; media-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The content security policy of the page around the report; pictures and sounds are data URIs."""
FILES = {"/": "live.html", "/live.css": "live.css", "/live.js": "live.js", "/steer.js": "steer.js"}
"""Address → file of `dirvae.report`."""
TAIL_BYTES = 8192
"""Bytes that are read at the end of a metrics file: enough for a few lines."""
LOOKING_SECONDS = 12.0
"""A page counts as open this long after its last request; a page in the background asks every 10 seconds."""
FAREWELL_SECONDS = 3.0
"""The longest time that the end of the training waits for an open page to load the last report."""


class Training(Protocol):
    """The facts of a trainer that the view shows."""

    @property
    def step(self) -> int: ...

    @property
    def total_steps(self) -> int: ...

    @property
    def stopped_early(self) -> bool: ...


class LiveView:
    """A server of a run's report, from the beginning of a `with` block to its end.

    Call `watch` with the trainer as soon as it exists. `is_stopped()` is True if the training was asked to stop: then
    the end of the block does not wait for the page. Raises `ConfigError` for a port that cannot be used.
    """

    def __init__(self, run: Path, *, port: int | None = None, is_stopped: Any = lambda: False) -> None:
        self._run, self._is_stopped = run, is_stopped
        self._training: Training | None = None
        self._phase = "preparing"
        self._last_asked = -LOOKING_SECONDS
        self._is_seen = threading.Event()
        self._server = self._start(port)

    @property
    def url(self) -> str:
        """The address to open, with the token."""
        return self._server.url

    def watch(self, training: Training) -> None:
        """Show the progress of this training from now on."""
        self._training = training
        self._phase = "training"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        training = self._training
        is_whole = training is not None and (training.step >= training.total_steps or training.stopped_early)
        self._phase = "failed" if kind is not None else "ended" if is_whole else "stopped"
        if time.monotonic() - self._last_asked < LOOKING_SECONDS and not self._is_stopped():
            self._is_seen.wait(FAREWELL_SECONDS)
        self._server.stop()

    def state(self) -> dict[str, Any]:
        """The values that the page shows with the report, as JSON values; `version` is None until there is a report."""
        training = self._training
        return {
            "run": self._run.resolve().name,
            "phase": self._phase,
            "step": None if training is None else training.step,
            "total_steps": None if training is None else training.total_steps,
            "metrics": newest_line(self._run / "metrics.jsonl"),
            "version": self._version(),
        }

    def _start(self, port: int | None) -> RunningServer:
        from dirvae.web import start

        try:
            return start(self._routes(), port=port or 0)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"--live-port {port}: cannot be served on ({reason}). Name another port, or leave --live-port out for "
                "a free one."
            ) from error

    def _routes(self) -> list[Route]:
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import JSONResponse, Response
        from starlette.routing import Route

        from dirvae.web import Sentence, package_files

        async def state(request: Request) -> Response:
            self._last_asked = time.monotonic()
            found = await run_in_threadpool(self.state)
            is_last = found["phase"] not in ("preparing", "training")
            if is_last and request.query_params.get("version", "") == (found["version"] or ""):
                self._is_seen.set()
            return JSONResponse(found)

        async def report(request: Request) -> Response:
            try:
                content = await run_in_threadpool((self._run / "report.html").read_bytes)
            except OSError:
                return Sentence(404, "There is no report yet.")
            return Response(content, media_type="text/plain; charset=utf-8")

        files = [
            _with_policy(route) if route.path == "/" else route for route in package_files("dirvae.report", FILES)
        ]
        return [*files, Route("/state", state, methods=["GET"]), Route("/report", report, methods=["GET"])]

    def _version(self) -> str | None:
        """A text that changes whenever the report is written; None without a report."""
        try:
            found = (self._run / "report.html").stat()
        except OSError:
            return None
        return f"{found.st_mtime_ns}-{found.st_size}-{found.st_ino}"


def newest_line(path: Path) -> dict[str, Any]:
    """The newest line of training in a metrics file, {} without one; only the end of the file is read.

    Numbers that are not finite, which other programs may have written, become None, because JSON has none.
    """
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).decode("utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and found.get("kind") == "train":
            return finite_or_none(found)
    return {}


def _with_policy(route: Route) -> Route:
    """The same route; its response has the policy of the page around a report."""
    from starlette.routing import Route

    answer = route.endpoint

    async def answer_with_policy(request: Request) -> Response:
        response: Response = await answer(request)
        response.headers["content-security-policy"] = POLICY
        return response

    return Route(route.path, answer_with_policy, methods=["GET"])
