"""Beginning a run with another's weights, and what that means for its held-out part.

warm_start.json     which run and step the weights came from, what that run had trained on, and whether the images
                    that this one holds out are known to be new to them
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dirvae.training.checkpoint import Checkpoint
from dirvae.training.errors import ConfigError
from dirvae.training.loading import choose_checkpoint
from dirvae.training.run_folder import write_json
from dirvae.training.states import load_model_tensors

__all__ = ["WarmStart", "begin_with", "forget_warm_start", "read_warm_start"]

WARM_START_NAME = "warm_start.json"
WARM_START_VERSION = 1


@dataclass(frozen=True)
class WarmStart:
    """Where a run's first weights came from.

    `is_held_out_new`: whether the run they came from, and those before it, trained on the same part of the same data
    as this one does, so that no weight has seen what this one holds out.
    """

    run: str
    step: int
    is_held_out_new: bool

    @property
    def warning(self) -> str | None:
        """A sentence where held-out images may have been trained on, None where they were not."""
        if self.is_held_out_new:
            return None
        return (
            f"the first weights came from {self.run}, which was trained on other data or another part of it: images "
            "that are held out here may have been trained on there"
        )


def begin_with(model: nn.Module, origin: Path, run: Path, source: Any) -> tuple[WarmStart, Checkpoint]:
    """Give `model` the best weights of the run `origin`, and note in the folder `run` where they came from.

    `source`: the examples that the new run trains on. Raises `CheckpointError`.
    """
    start = choose_checkpoint(origin, "best")
    load_model_tensors(model, start.model_tensors(), origin=str(start.path))
    before = read_warm_start(origin)
    is_new = _has_seen_only(start, source) and (before is None or before.is_held_out_new)
    warm = WarmStart(str(origin), start.step, is_new)
    write_json(run / WARM_START_NAME, {"version": WARM_START_VERSION, **asdict(warm)})
    return warm, start


def read_warm_start(run: Path) -> WarmStart | None:
    """Where a run's first weights came from, None if they were fresh. Raises `ConfigError` if it cannot be read."""
    path = run / WARM_START_NAME
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("version")
        if version == WARM_START_VERSION:
            return WarmStart(**content)
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}). Restore the file.") from error
    raise ConfigError(f"{path}: version {version!r}; this library reads {WARM_START_VERSION}. Update dirvae.")


def forget_warm_start(run: Path) -> None:
    """Remove what an earlier beginning left in the folder of a run that has no checkpoint yet."""
    (run / WARM_START_NAME).unlink(missing_ok=True)


def _has_seen_only(start: Checkpoint, source: Any) -> bool:
    """Whether a checkpoint's run trained on `source`, or on what it was before more was appended."""
    feed = start.state.get("feed") or {}
    state = feed.get("iterator")
    if not isinstance(state, dict) or not {"examples", "data_hash"} <= state.keys():
        return False
    examples = int(state["examples"])
    return examples <= len(source) and bool(source.prefix_hash(examples) == state["data_hash"])
