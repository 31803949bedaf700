"""The settings of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dirvae.training.errors import ConfigError

__all__ = ["EvaluateConfig", "evaluation_name"]

EVALUATION_NAME = "evaluation.json"
RAW_EVALUATION_NAME = "evaluation-raw.json"
"""Of the weights that were trained, in a run whose averaged weights are those that count."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What to measure, and on how many examples.

    `samples`: importance samples per example. `width`: how wide their proposal is, 1 for the posterior; None for
    the tightest of eight. `limit`: examples used, of the held-out ones and of those trained on each; None: 2,000,
    or fewer large ones, as in `open_run_data`. `label`: the factor, or the category of annotations, that nearest
    neighbours predict. `circular`: factors that make one turn from 0 to 1. `source`: where the data is now, if it has
    moved. `which`: "best", "last" or a step. `weights`: "ema", "raw", or None, as in `load_model`. Raises
    `ConfigError`.
    """

    samples: int = 100
    width: float | None = None
    limit: int | None = None
    label: str | None = None
    circular: tuple[str, ...] = ()
    source: str | None = None
    which: str | int = "best"
    weights: str | None = None
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, count in (("samples", self.samples), ("limit", self.limit)):
            if count is not None and count < 1:
                raise ConfigError(f"{name} is {count}; it must be 1 or more.")
        if self.width is not None:
            from dirvae.evaluate.importance import check_width

            try:
                check_width(self.width)
            except ValueError as error:
                raise ConfigError(str(error)) from error
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed is {self.seed}; it must be 0 or more and below 2⁶³.")


def evaluation_name(content: Mapping[str, Any]) -> str:
    """The name of the file of an evaluation."""
    is_raw = content["weights"] == "raw" and content["has_ema"]
    return RAW_EVALUATION_NAME if is_raw else EVALUATION_NAME
