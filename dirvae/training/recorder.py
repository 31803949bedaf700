"""What a run tells while it trains: means of the loss terms, speed and waiting, to metrics.jsonl and the screen."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dirvae.training.errors import TrainingWarning
from dirvae.training.guard import GuardTally
from dirvae.training.logging import MetricsFile, Progress
from dirvae.training.meter import Meter

__all__ = ["Recorder"]

METRICS_NAME = "metrics.jsonl"
HELD_OUT_SHOWN = ("bound", "objective", "psnr_db", "psnr_gain_db", "components_in_use")


class Recorder:
    """Collects what happens between two looks, a window, and writes one line for each."""

    def __init__(self, out: Path | None, *, total_steps: int) -> None:
        self._metrics = MetricsFile(out / METRICS_NAME) if out is not None else None
        self._progress = Progress(total_steps)
        self._meter = Meter()
        self._examples = 0
        self._skipped = 0
        self._began = time.perf_counter()

    def start(self, step: int, *, skipped: int) -> None:
        """Begin to tell, at a step before which so many updates were skipped."""
        self._skipped = skipped
        self._progress.start(step)
        self._began = time.perf_counter()

    def count(self, values: Mapping[str, Tensor], is_finite: Tensor, *, num_examples: int) -> None:
        """One update is done: its scalars, still on the device, and how many examples it saw."""
        self._meter.add(values, is_finite)
        self._examples += num_examples
        self._progress.advance()

    def log(self, step: int, tally: GuardTally, *, numbers: Mapping[str, float], wait_seconds: float) -> None:
        """Write the window's line: means over it, `numbers` as they are now, speed, and updates skipped so far."""
        seconds = max(time.perf_counter() - self._began, 1e-9)
        means = self._meter.take()
        speed = {
            "examples_per_second": self._examples / seconds,
            "wait_share": min(wait_seconds / seconds, 1.0),
        }
        if self._metrics is not None:
            self._metrics.append("train", step, {**means, **numbers, **speed, "skipped_updates": tally.skipped})
        self._progress.show(step, {**means, **speed})
        if tally.skipped > self._skipped:
            warnings.warn(
                f"step {step}: updates skipped because {tally.culprit} was NaN or infinite: "
                f"{tally.skipped - self._skipped} since the last line, {tally.skipped} since the start.",
                TrainingWarning,
                stacklevel=3,
            )
        self._skipped = tally.skipped
        self.open_window()

    def held_out(self, step: int, evaluation: Mapping[str, Any]) -> None:
        """Write the line of an evaluation."""
        if self._metrics is not None:
            self._metrics.append("held_out", step, evaluation)
        shown = {name: evaluation[name] for name in HELD_OUT_SHOWN if name in evaluation}
        self._progress.show(step, shown or evaluation, what="held out")

    def open_window(self) -> None:
        """Begin a window now: what was spent since, on a save or an evaluation, is not training."""
        self._examples = 0
        self._began = time.perf_counter()

    def cut_back(self, step: int) -> None:
        """Drop what was written after a step."""
        if self._metrics is not None:
            self._metrics.cut_back(step)

    def close(self) -> None:
        """Take the progress bar away."""
        self._progress.close()
