"""Starting the application: the page is served at once, and a thread opens the runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dirvae.explore.sheet import ExplorationError
from dirvae.explorer.desk import Desk, OpenRun
from dirvae.explorer.routes import application_routes
from dirvae.web import RunningServer, start

__all__ = ["serve_run", "start_application"]

BEGIN_SECONDS = 1.0
"""How long to wait for a first request before the runs are opened without one."""
FIRST_EXAMPLES = 64
"""Examples that are read before the page shows sliders; the others are read afterwards."""


def serve_run(
    runs: Sequence[str | os.PathLike[str]],
    *,
    checkpoints: Sequence[str | int] = ("best",),
    source: str | None = None,
    most: int = 2000,
    device: str = "cpu",
    host: str = "127.0.0.1",
    port: int = 0,
) -> None:
    """Serve the application for one run or two until Ctrl-C, and print its address.

    Each of `checkpoints` is "best", "last" or a step. Two of them are two models of one run, or one model of each of
    two runs. The data is that of each run, or `source`; up to `most` examples are read. Raises `OSError` for a taken
    port and `ExplorationError` for more than two models.
    """
    opens = [
        _opening(label, partial(_open, Path(run), checkpoint=which, source=source, device=device), most)
        for run, which, label in _chosen(runs, checkpoints)
    ]
    if len(opens) > 1:  # each key is looked up in the other run, so both are read completely first
        opens = [replace(one, open_part=None) for one in opens]
    server, desk = start_application(opens, host=host, port=port)
    print(f"Open {server.url}\nCtrl-C ends it.", flush=True)
    try:
        server.wait()
    except KeyboardInterrupt:
        print()
    finally:
        server.stop()
        desk.close()


def start_application(
    opens: Sequence[OpenRun], *, host: str = "127.0.0.1", port: int = 0, token: str | None = None
) -> tuple[RunningServer, Desk]:
    """Start an application. The caller stops the server and closes the desk. Runs open when the page asks for them."""
    desk = Desk(opens)
    server = start(application_routes(desk), host=host, port=port, token=token)
    threading.Thread(target=desk.begin_within, args=(BEGIN_SECONDS,), name="opening", daemon=True).start()
    return server, desk


def _chosen(
    runs: Sequence[str | os.PathLike[str]], checkpoints: Sequence[str | int]
) -> list[tuple[str | os.PathLike[str], str | int, str]]:
    """Each run with its checkpoint and a label; the labels differ."""
    num = max(len(runs), len(checkpoints))
    if num > 2 or not runs or not checkpoints:
        raise ExplorationError(
            f"{len(runs)} runs and {len(checkpoints)} checkpoints are named. Name one run or two."
        )
    pairs = [(runs[min(k, len(runs) - 1)], checkpoints[min(k, len(checkpoints) - 1)]) for k in range(num)]
    names = [Path(run).resolve().name for run, _ in pairs]
    same = len(set(names)) < num
    return [
        (run, which, f"{name} ({which})" if same else name) for (run, which), name in zip(pairs, names, strict=True)
    ]


def _opening(label: str, opened: Callable[..., Any], most: int) -> OpenRun:
    part = partial(opened, most=FIRST_EXAMPLES) if most > FIRST_EXAMPLES else None
    return OpenRun(label, partial(opened, most=most), part)


def _open(run: Path, **options: Any) -> Any:
    from dirvae.run.explored_run import open_explored_run

    return open_explored_run(run, **options)
