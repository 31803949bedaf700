"""The page of a run while it trains: numbers and curves at every checkpoint, pictures as far as they cost little.

What fails here causes one warning; it neither ends the training nor costs weights.
"""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dirvae.run.config import RunConfig
from dirvae.tasks.data import TaskData
from dirvae.tasks.task import Report, RunFacts
from dirvae.training.errors import TrainingWarning
from dirvae.training.signals import StopNow, interruptible
from dirvae.training.trainer import Trainer

__all__ = ["LivePage", "describe_origin"]

SHARE = 0.02
"""Of the training's time, which the page may take."""
FIRST_SECONDS = 0.5
"""What pictures are thought to take before any were made."""


class LivePage:
    """Writes `report.html` and, for a run with `tensorboard`, pictures or sounds and histograms.

    Pictures are made at a checkpoint if all that was made since the start then takes up to 2 % of the time; the page
    keeps the last ones until then. At the end everything is made.
    """

    def __init__(self, run: Path, config: RunConfig, data: TaskData, *, command: str | None = None) -> None:
        self.run = run
        self._config, self._data, self._command = config, data, command
        self._report: Report | None = None
        self._pictures: dict[str, Any] | None = None
        self._path: Path | None = None
        self._began = time.perf_counter()
        self._spent, self._last_cost = 0.0, FIRST_SECONDS
        self._has_warned = False

    def check_label(self) -> None:
        """Raise `ConfigError` if the report is to be coloured by a label that its examples do not have."""
        if self._config.data.label is not None:
            self._opened()

    def follow(self, trainer: Trainer, make_summary: Callable[[], Mapping[str, Any]]) -> None:
        """Write the page at a checkpoint of a training that goes on."""
        began = time.perf_counter()
        if self._spent + self._last_cost <= SHARE * (began - self._began):
            self._is_done(lambda: self._make_pictures(trainer), "Training continues.")
            self._last_cost = time.perf_counter() - began
        self._is_done(lambda: self._write(trainer, make_summary(), is_training=True), "Training continues.")
        self._spent += time.perf_counter() - began

    def finish(self, trainer: Trainer, summary: Mapping[str, Any], *, has_time: bool = True) -> Path | None:
        """Write the page at the end, with pictures of the last weights; its path, None where that failed.

        Without time, and where a stop comes while they are made, with those from before, if there are any.
        """
        remedy = "The weights are saved; --resume writes it again."
        if has_time:
            with suppress(StopNow), interruptible():
                self._is_done(lambda: self._make_pictures(trainer), remedy)
        is_written = self._is_done(lambda: self._write(trainer, summary, is_training=False), remedy)
        return self._path if is_written else None

    def _make_pictures(self, trainer: Trainer) -> None:
        report = self._opened()
        made = report.make_pictures(self.run, trainer.model)
        self._pictures = {**made, "pictures_step": trainer.step}
        if trainer.events is not None and not trainer.events.holds(trainer.step):
            trainer.events.add(trainer.step, report.events(trainer.model))

    def _write(self, trainer: Trainer, summary: Mapping[str, Any], *, is_training: bool) -> None:
        origin = describe_origin(self._command) | ({"is_training": True} if is_training else {})
        facts = RunFacts(self._data.facts, self._config.settings(), summary, origin)
        self._path = self._opened().write(self.run, trainer.model, facts, self._pictures)

    def _opened(self) -> Report:
        if self._report is None:
            self._report = self._config.task.open_report(self._data, self._config.fit.seed)
        return self._report

    def _is_done(self, make: Callable[[], None], remedy: str) -> bool:
        """Whether it was made; a failure causes a warning, the first time."""
        try:
            make()
        except Exception as error:
            if not self._has_warned:
                self._has_warned = True
                reason = error.strerror if isinstance(error, OSError) and error.strerror else error
                warnings.warn(
                    f"{self.run}: the report could not be written ({type(error).__name__}: {reason}). {remedy}",
                    TrainingWarning,
                    stacklevel=3,
                )
            return False
        return True


def describe_origin(command: str | None) -> dict[str, Any]:
    """How a page was made, now: the command if there was one, the date, and the versions that matter."""
    versions = {name: _version(name) for name in ("dirvae", "torch")}
    return {
        **({} if command is None else {"command": command}),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": {**versions, "Python": platform.python_version()},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # run from a folder that was not installed
        return "of unknown version"
