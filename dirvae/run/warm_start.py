"""Starting a run with the weights of another, and what that means for its held-out part.

warm_start.json     which run and step the weights came from, and whether the examples that this run holds out are
                    new to them, as far as the folders of the earlier runs show
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dirvae.level_weights import tensors_for_levels
from dirvae.run.config import RunConfig, read_config
from dirvae.run.folder import CONFIG_NAME, write_json
from dirvae.run.loading import choose_checkpoint
from dirvae.tasks.seen_data import count_seen
from dirvae.training.checkpoint import Checkpoint
from dirvae.training.errors import ConfigError, TrainingWarning
from dirvae.training.states import load_model_tensors

__all__ = ["WarmStart", "describe_start", "load_start", "note_start", "read_warm_start"]

WARM_START_NAME = "warm_start.json"
WARM_START_VERSION = 1


@dataclass(frozen=True)
class WarmStart:
    """Where a run's first weights came from; `step` is None where that is not known.

    `is_held_out_new`: whether the run they came from, and those before it, trained on the same part of the same data
    as this one does, so that what this one holds out is new to the weights; None where it holds nothing out.
    """

    run: str
    step: int | None
    is_held_out_new: bool | None

    def warning(self, examples: str) -> str | None:
        """A sentence if held-out `examples` ("images") may have been trained on, None if they were not."""
        if self.is_held_out_new is not False:
            return None
        return (
            f"the first weights came from {self.run}, and that run, or one before it, may have trained on {examples} "
            "that are held out here"
        )


def load_start(model: nn.Module, origin: Path) -> tuple[Checkpoint, str | None]:
    """Give `model` the best weights of the run `origin`: the checkpoint, and which part they are, None for the whole.

    A model of two levels also takes the weights of a vector for its "vector", and a vector those of the vector of two
    levels. Raises `CheckpointError`.
    """
    start = choose_checkpoint(origin, "best")
    tensors, part = tensors_for_levels(model, start.tensors())
    load_model_tensors(model, tensors, origin=str(start.path))
    return start, part


def describe_start(origin: Path, start: Checkpoint, source: Any, *, holds_out: bool) -> WarmStart:
    """What weights of a checkpoint of the run `origin` mean for a new run; `note_start` keeps it in the run's folder.

    `source`: the examples that the new run trains on. `holds_out`: whether it holds others out.
    """
    before = _origin_of(origin)
    is_new = _has_seen_only(start, source) and (before is None or before.is_held_out_new is True)
    return WarmStart(str(origin), start.step, is_new if holds_out else None)


def note_start(run: Path, warm: WarmStart | None) -> None:
    """Note in the folder of a new run where its first weights came from; None for fresh ones."""
    if warm is None:
        (run / WARM_START_NAME).unlink(missing_ok=True)
    else:
        write_json(run / WARM_START_NAME, {"version": WARM_START_VERSION, **asdict(warm)})


def read_warm_start(run: Path, config: RunConfig) -> WarmStart | None:
    """Where a run's first weights came from, None if they were fresh.

    If the `config` names another run but the note is missing or cannot be read, no example counts as new to the
    weights. A note that cannot be read also causes a warning.
    """
    if config.init_from is None:
        return None
    path = run / WARM_START_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != WARM_START_VERSION:
            raise ValueError(f"version {content['version']!r}; this library reads {WARM_START_VERSION}")
        if not isinstance(content["is_held_out_new"], bool | None):
            raise ValueError(f"is_held_out_new is {content['is_held_out_new']!r}")
        return WarmStart(str(content["run"]), int(content["step"]), content["is_held_out_new"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        warnings.warn(
            f"{path}: cannot be read ({error}), so it is unknown what the first weights were trained on.",
            TrainingWarning,
            stacklevel=2,
        )
    return WarmStart(config.init_from, None, None if config.data.held_out is None else False)


def _origin_of(run: Path) -> WarmStart | None:
    """Where the first weights of a run came from, None if they were fresh or the run, made in Python, has no settings.

    Settings that cannot be read may have named another run, so then no example counts as new.
    """
    if not (run / CONFIG_NAME).exists():
        return None
    try:
        return read_warm_start(run, read_config(run))
    except ConfigError:
        return WarmStart(str(run), None, False)


def _has_seen_only(start: Checkpoint, source: Any) -> bool:
    """Whether a checkpoint's run trained on `source`, or on its state before more was appended."""
    feed = start.state.get("feed") or {}
    state = feed.get("iterator")
    return count_seen(source, state) is not None
