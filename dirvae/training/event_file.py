"""The TensorBoard file of a run, which always equals metrics.jsonl.

It is `tensorboard/events.out.tfevents.NNNNNNNNNN.dirvae`, with no host name. When a run is resumed, a new one with the
next number takes its place: scalars from metrics.jsonl, the other values from the file before, both up to the
checkpoint. Each step therefore stands once. The file before it is emptied, not removed, so that a viewer that is open
finds its end there and follows to the next number; the start of a session in the second record makes it drop what it
had.
"""

from __future__ import annotations

import math
import os
import re
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dirvae.training.errors import TrainingWarning
from dirvae.training.event_records import encode_event, encode_record, message, read_events, scalar
from pipelines.storage.durable_files import write_durably

__all__ = ["EventFile"]

FILE_VERSION = "brain.Event:2"
SESSION_START = message({1: 1})
_NAME = re.compile(r"events\.out\.tfevents\.\d{10}\.dirvae")


class EventFile:
    """The event file of a run, written by one process. A disk error causes one warning, and ends the writing.

    Each kind of line is taken once per step, as are the values given to `add`.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._path: Path | None = None
        self._last: dict[str, int] = {}
        self._is_broken = False

    @property
    def is_started(self) -> bool:
        """Whether the file of this process exists, or was tried to be made."""
        return self._path is not None or self._is_broken

    def restart(self, lines: Iterable[Mapping[str, Any]], *, step: int) -> None:
        """Begin a file with lines of metrics, and what the file before it holds besides numbers, up to a step."""
        try:
            self._restart([line for line in lines if line["step"] <= step], step)
        except OSError as error:
            self._break(error)

    def append(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Add the numbers of a line of metrics as `kind/name`; what is not a finite number is left out."""
        if (scalars := _scalars(kind, values)) and self._is_new(kind, step):
            self._write(encode_event(step, time.time(), scalars))

    def add(self, step: int, values: Sequence[bytes]) -> None:
        """Add other values of a step."""
        if values and self._is_new("", step):
            self._write(encode_event(step, time.time(), values))

    def holds(self, step: int) -> bool:
        """Whether other values of this step, or of a later one, were added."""
        return self._last.get("", -1) >= step

    def _restart(self, lines: list[Mapping[str, Any]], step: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        before = sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))
        stored = [event for event in (read_events(before[-1]) if before else ()) if event.step <= step]
        times = {event.step: event.wall_time for event in stored}
        now, self._last = time.time(), {}
        events: list[tuple[int, bytes]] = []
        for line in lines:
            kind, at = line.get("kind", "train"), line["step"]
            if (scalars := _scalars(kind, line)) and self._is_new(kind, at):
                events.append((at, encode_event(at, times.get(at, now), scalars)))
        for event in stored:
            if not event.are_scalars and self._is_new("", event.step):
                events.append((event.step, event.data))
        events.sort(key=lambda event: event[0])
        first = (message({1: now, 3: FILE_VERSION}), message({1: now, 7: SESSION_START}))
        number = int(before[-1].name.split(".")[3]) + 1 if before else 0
        beside = self.folder / "next"  # no viewer takes a file of this name for one of events
        write_durably(beside, b"".join(encode_record(data) for data in (*first, *(data for _, data in events))))
        self._path = beside.replace(self.folder / f"events.out.tfevents.{number:010d}.dirvae")
        for old in before[:-1]:
            old.unlink(missing_ok=True)
        if before:
            os.truncate(before[-1], 0)

    def _is_new(self, kind: str, step: int) -> bool:
        if self._last.get(kind, -1) >= step:
            return False
        self._last[kind] = step
        return True

    def _write(self, event: bytes) -> None:
        if self._is_broken or self._path is None:
            return
        try:
            with open(self._path, "ab") as file:
                file.write(encode_record(event))
        except OSError as error:
            self._break(error)

    def _break(self, error: OSError) -> None:
        self._is_broken = True
        warnings.warn(
            f"{self.folder}: the TensorBoard file could not be written ({error.strerror or error}). Training continues "
            "without it; --resume writes it again.",
            TrainingWarning,
            stacklevel=4,
        )


def _scalars(kind: str, values: Mapping[str, Any]) -> list[bytes]:
    return [
        scalar(f"{kind}/{name}", value)
        for name, value in values.items()
        if name != "step"
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    ]
