"""Which experiments there are, in the order in which they tell most."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models import MODELS

__all__ = ["LONG", "RESULTS", "SHORT", "Job", "all_jobs"]

RESULTS = Path(__file__).parent / "results"
SHORT, LONG = 30, 100
LONG_MODELS = ("gaussian", "dirichlet", "scaled-dirichlet-prior3")
SEEDS = (0, 1, 2)


@dataclass(frozen=True, order=True)
class Job:
    """One model trained for some epochs on one data set from one seed, and measured."""

    dataset: str
    model: str
    epochs: int
    seed: int

    @property
    def name(self) -> str:
        """What its result file is called."""
        return f"{self.dataset}-{self.model}-{self.epochs:03d}-seed{self.seed}"

    @property
    def run_name(self) -> str:
        """What its run folder is called: longer jobs continue where shorter ones of the same seed ended."""
        return f"{self.dataset}-{self.model}-seed{self.seed}"

    @property
    def shorter(self) -> Job | None:
        """The job of the same run that has to be measured before this one trains past it."""
        return replace(self, epochs=SHORT) if self.epochs == LONG else None

    def result_path(self, folder: Path = RESULTS) -> Path:
        """Where its result lies, or will."""
        return folder / f"{self.name}.json"

    def result(self, folder: Path = RESULTS) -> dict[str, Any] | None:
        """What was measured, None if it was not yet."""
        path = self.result_path(folder)
        content: dict[str, Any] | None = json.loads(path.read_text("utf-8")) if path.exists() else None
        return content


def all_jobs(epochs: int | None = None) -> list[Job]:
    """All jobs: one seed of everything on MNIST, the long ones, then OMNIGLOT, then the other seeds.

    `epochs`: the jobs of that length only; of a length that no table shows, all models, data sets and seeds.
    """
    datasets = ("mnist", "omniglot")
    short = [[Job(dataset, model, SHORT, seed) for model in MODELS] for seed in SEEDS for dataset in datasets]
    long = [[Job(dataset, model, LONG, seed) for model in LONG_MODELS] for seed in SEEDS for dataset in datasets]
    first, *others = short
    ordered = [job for group in (first, long[0], *others, *long[1:]) for job in group]
    if epochs is None:
        return ordered
    if epochs in (SHORT, LONG):
        return [job for job in ordered if job.epochs == epochs]
    return [replace(job, epochs=epochs) for job in ordered if job.epochs == SHORT]
