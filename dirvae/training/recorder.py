"""The log of a run: means of the loss terms, speed and waiting, in metrics.jsonl and on the screen."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dirvae.training.errors import TrainingWarning
from dirvae.training.event_file import EventFile
from dirvae.training.guard import GuardTally
from dirvae.training.logging import MetricsFile, Progress, read_metrics
from dirvae.training.meter import Meter
from dirvae.training.ranks import ONE_RANK, Ranks

__all__ = ["CLIPPED", "Recorder"]

CLIPPED = "clipped_share"
"""The share of updates whose gradients were larger than the largest norm, among the numbers of a line."""
METRICS_NAME = "metrics.jsonl"
MANY_UPDATES = 100
FEW_UPDATES = 20
"""So many updates, all of them clipped, are a reason to warn, and so many at the end of a run."""
EVENTS_NAME = "tensorboard"
HELD_OUT_SHOWN = (
    "bound",
    "objective",
    "psnr_db",
    "psnr_gain_db",
    "reconstruction",
    "kl_per_second",
    "components_in_use",
)


class Recorder:
    """Collects the numbers of a window of steps and writes one line per window; only the first rank writes.

    `tensorboard`: whether the lines are written to a file of events as well.
    """

    def __init__(
        self, out: Path | None, *, total_steps: int, ranks: Ranks = ONE_RANK, tensorboard: bool = False
    ) -> None:
        self._metrics = MetricsFile(out / METRICS_NAME) if out is not None and ranks.is_first else None
        has_events = tensorboard and out is not None and ranks.is_first
        self.events = EventFile(out / EVENTS_NAME) if out is not None and has_events else None
        self._progress = Progress(total_steps, is_silent=not ranks.is_first)
        self._meter = Meter(ranks=ranks)
        self._examples = 0
        self._skipped = 0
        self._total_steps = total_steps
        self._first = 0
        self._is_always_clipped = True
        self._began = time.perf_counter()

    def start(self, step: int, *, skipped: int) -> None:
        """Start at a step; `skipped` updates were skipped before it."""
        self._skipped = skipped
        self._first, self._is_always_clipped = step, True
        if self.events is not None and not self.events.is_started:
            self._restart_events(step)
        self._progress.start(step)
        self._began = time.perf_counter()

    def count(
        self,
        values: Mapping[str, Tensor],
        is_finite: Tensor,
        *,
        num_examples: int,
        parts: frozenset[str] = frozenset(),
    ) -> None:
        """Count one update: its scalars, still on the device, and its number of examples.

        `parts`: the names of those of which each rank has a part of the sum.
        """
        self._meter.add(values, is_finite, parts=parts)
        self._examples += num_examples
        self._progress.advance()

    def log(self, step: int, tally: GuardTally, *, numbers: Mapping[str, float], wait_seconds: float) -> None:
        """Write the window's line: means over it, the current `numbers`, speed, and updates skipped so far."""
        seconds = max(time.perf_counter() - self._began, 1e-9)
        means = self._meter.take()
        speed = {
            "examples_per_second": self._examples / seconds,
            "wait_share": min(wait_seconds / seconds, 1.0),
        }
        self._write("train", step, {**means, **numbers, **speed, "skipped_updates": tally.skipped})
        self._progress.show(step, {**{name: means[name] for name in means if name != CLIPPED}, **speed})
        self._check_clip(step, means)
        if tally.skipped > self._skipped:
            warnings.warn(
                f"step {step}: updates skipped because {tally.culprit} was NaN or infinite: "
                f"{tally.skipped - self._skipped} since the last line, {tally.skipped} since the start.",
                TrainingWarning,
                stacklevel=3,
            )
        self._skipped = tally.skipped
        self.open_window()

    def _check_clip(self, step: int, means: Mapping[str, float | None]) -> None:
        """Warn once if all updates so far were clipped, when there were enough of them to tell."""
        if means.get(CLIPPED) != 1:
            self._is_always_clipped = False
        enough = FEW_UPDATES if step == self._total_steps else MANY_UPDATES
        if self._is_always_clipped and step - self._first >= enough:
            self._is_always_clipped = False
            warnings.warn(
                f"step {step}: the gradients of all {step - self._first:,} updates were larger than clip, by their "
                f"norms, which are about {means['gradient_norm']:,.3g}; all were cut to the same length. Raise clip, "
                "or turn it off (None; on the command line 0), where their size should count.",
                TrainingWarning,
                stacklevel=4,
            )

    def held_out(self, step: int, evaluation: Mapping[str, Any]) -> None:
        """Write the line of an evaluation."""
        self._write("held_out", step, evaluation)
        shown = {name: evaluation[name] for name in HELD_OUT_SHOWN if name in evaluation}
        self._progress.show(step, shown or evaluation, what="held out")

    def open_window(self) -> None:
        """Start a window now, so that the time of a save or an evaluation is not counted as training."""
        self._examples = 0
        self._began = time.perf_counter()

    def cut_back(self, step: int) -> None:
        """Remove the lines after a step."""
        if self._metrics is not None:
            self._metrics.cut_back(step)
        if self.events is not None:
            self._restart_events(step)

    def close(self) -> None:
        """Remove the progress bar."""
        self._progress.close()

    def _write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        if self._metrics is not None:
            self._metrics.append(kind, step, values)
        if self.events is not None:
            self.events.append(kind, step, values)

    def _restart_events(self, step: int) -> None:
        assert self.events is not None
        assert self._metrics is not None
        self.events.restart(read_metrics(self._metrics.path), step=step)
