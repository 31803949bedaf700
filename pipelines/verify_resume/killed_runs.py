"""Runs that are killed: a consumer in a process of its own that writes down each batch before it takes the next.

parent ── fork ─▶ leg: load state ─▶ batch ─▶ one line {"examples": …, "state": …} ─▶ batch ─▶ line …
   └── SIGKILL to the leg's process group, or a wait until its epoch ends; then read the whole lines
"""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .delivery_report import Entry, entries

__all__ = ["Leg", "run_leg"]

FAILED = 3
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Leg:
    """What one leg delivered before it ended: the examples and the state after each batch it wrote down."""

    batches: list[list[Entry]]
    states: list[dict[str, Any]]
    finished: bool
    first_batch_seconds: float | None


def run_leg(
    make: Callable[[], Any],
    state: dict[str, Any] | None,
    journal: Path,
    *,
    kill_after_batches: int | None = None,
    kill_delay_seconds: float = 0.0,
) -> Leg:
    """Play a loader from a state in a child process, killed at random or left to end its epoch.

    make                 builds the loader, in the child
    kill_after_batches   SIGKILL to the child's process group once this many batches are written down, and
    kill_delay_seconds   so much later, wherever it is then. None: let it end.
    Raises `RuntimeError` with the last line of the child's own report where the loader fails.
    """
    for file in (journal, _report(journal)):
        file.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _child(make, state, journal)
    killed = _wait(child, journal, kill_after_batches, kill_delay_seconds)
    return _read(journal, finished=not killed)


def _child(make: Callable[[], Any], state: dict[str, Any] | None, journal: Path) -> None:
    """Deliver and write down; never returns."""
    os.setsid()
    if state is not None:
        warnings.simplefilter("ignore")  # the process that began has given them
    code = FAILED
    try:
        with open(journal, "w", encoding="utf-8") as file:
            for line in _play(make, state):
                file.write(line)
                file.flush()
        code = 0
    except BaseException as error:
        _report(journal).write_text(traceback.format_exception_only(error)[-1].strip(), "utf-8", "replace")
    finally:
        os._exit(code)


def _play(make: Callable[[], Any], state: dict[str, Any] | None) -> Iterator[str]:
    loader = make()
    if state is not None:
        loader.load_state_dict(state)
    begun = time.perf_counter()
    for batch in loader:
        after = getattr(batch, "state", None) or loader.state_dict()
        seconds = time.perf_counter() - begun
        yield json.dumps({"examples": entries(batch), "state": after, "seconds": seconds}) + "\n"
        begun = time.perf_counter()


def _wait(child: int, journal: Path, kill_after: int | None, delay: float) -> bool:
    """Wait for the child, or kill it when it is time; whether it was killed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if os.waitstatus_to_exitcode(status) != 0:
                raise RuntimeError(f"a leg failed: {_last_line(journal) or 'its process died.'}")
            return False
        if kill_after is not None and _num_lines(journal) >= kill_after:
            time.sleep(delay)
            break
        if time.monotonic() > deadline:
            _kill(child)
            raise RuntimeError(f"a leg delivered nothing more for {PATIENCE_SECONDS:g} seconds.")
        time.sleep(0.002)
    _kill(child)
    return True


def _kill(child: int) -> None:
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _report(journal: Path) -> Path:
    """Where a leg that fails leaves what it failed of."""
    return journal.with_suffix(".report")


def _last_line(journal: Path) -> str:
    report = _report(journal)
    lines = report.read_text("utf-8").splitlines() if report.exists() else []
    return lines[-1] if lines else ""


def _num_lines(journal: Path) -> int:
    try:
        return journal.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _read(journal: Path, *, finished: bool) -> Leg:
    """The whole lines; a line cut off by the kill was not delivered."""
    text = journal.read_text(encoding="utf-8") if journal.exists() else ""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return Leg(
        batches=[[(str(key), str(digest)) for key, digest in line["examples"]] for line in lines],
        states=[line["state"] for line in lines],
        finished=finished,
        first_batch_seconds=lines[0]["seconds"] if lines else None,
    )
