"""The output of training: metrics as JSON lines in a file, a progress bar on a terminal, plain lines in a log."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from dirvae.training.errors import TrainingWarning
from dirvae.training.json_values import json_value
from pipelines.storage.durable_files import write_durably

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["MetricsFile", "Progress", "finite_or_none", "read_metrics"]


class MetricsFile:
    """`metrics.jsonl`: one object per line, with "kind" ("train" or "held_out") and "step" among its keys."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def append(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Add a line; numbers that are not finite become null. A disk error only causes a warning."""
        line = json.dumps(
            {"kind": kind, "step": step, **finite_or_none(values)}, ensure_ascii=False, allow_nan=False
        )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            reason = error.strerror or str(error)
            warnings.warn(f"{self.path}: step {step} was not logged ({reason}).", TrainingWarning, stacklevel=2)

    def cut_back(self, step: int) -> None:
        """Remove every line after a step, and a line that was cut short when the process was killed."""
        if self.path.exists():
            kept = [line for line in read_metrics(self.path) if line["step"] <= step]
            write_durably(self.path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a metrics file in order, without any that was cut short; empty if there is no file."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in map(_parsed, text.splitlines()) if line is not None]


def finite_or_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values as JSON has them, with None for numbers that are not finite. Raises `TypeError`, by name."""
    found = {}
    for name, value in values.items():
        try:
            found[str(name)] = json_value(value)
        except TypeError as error:
            raise TypeError(f"{name!r} cannot be written as JSON ({error})") from error
    return found


class Progress:
    """tqdm's bar on a terminal, else plain lines; nothing if `is_silent`.

    It shows loss terms, examples per second, and the share of the time spent waiting for data.
    """

    def __init__(self, total: int, *, stream: TextIO | None = None, is_silent: bool = False) -> None:
        self._is_silent = is_silent
        self._stream = stream if stream is not None else sys.stderr
        self._total = total
        self._bar: tqdm[Any] | None = None

    def start(self, step: int) -> None:
        """Start at a step."""
        if self._stream.isatty() and not self._is_silent:
            with suppress(ImportError):
                from tqdm import tqdm

                self._bar = tqdm(
                    total=self._total, initial=step, unit="step", file=self._stream, dynamic_ncols=True, leave=False
                )

    def advance(self) -> None:
        """One step is done."""
        if self._bar is not None:
            self._bar.update()

    def show(self, step: int, values: Mapping[str, Any], *, what: str = "") -> None:
        """Show the numbers at a step: beside the bar, or as a line; those with a name, `what`, always as a line."""
        if self._is_silent:
            return
        shown = _sentence(values)
        if self._bar is not None and not what:
            self._bar.set_postfix_str(shown)
            return
        line = "  ".join(part for part in (f"step {step}/{self._total}", what, shown) if part)
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _sentence(values: Mapping[str, Any]) -> str:
    parts = []
    for name, value in values.items():
        if name == "examples_per_second":
            parts.append(f"{value:,.0f} examples/s")
        elif name == "wait_share":
            parts.append(f"{value:.0%} waiting for data")
        elif value is None:
            parts.append(f"{name} –")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            parts.append(f"{name} {value}")
        else:
            parts.append(f"{name} {value:,.4g}" if abs(value) < 1000 else f"{name} {value:,.0f}")
    return "  ".join(parts)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) and isinstance(content.get("step"), int) else None
