"""Replay bundles: what is needed to go through an update that was not finite once more, in one process.

replay/00001234/            named by the step that the update would have made
    model.safetensors       weights and buffers before it
    state.json              step, settings, the position in the data before it, and how noise is made
    rank-0.json, …          what each process had: keys of its examples, and what was first not finite
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from dirvae.training.errors import CheckpointError, SaveError
from dirvae.training.json_values import json_value
from pipelines.storage.durable_files import write_durably

__all__ = ["Bundle", "Replayed", "write_bundle", "write_rank"]

FORMAT, VERSION = "dirvae-replay", 1
MODEL_NAME, STATE_NAME = "model.safetensors", "state.json"


@dataclass(frozen=True)
class Replayed:
    """An update that was gone through without being done.

    step    of the update, from 0
    terms   its loss terms, means over the examples
    bad     what is not finite: loss terms, and gradients by the names of their weights
    keys    of the examples, as far as batches have keys
    """

    step: int
    terms: dict[str, float]
    bad: list[str]
    keys: list[str]


@dataclass(frozen=True)
class Bundle:
    """A bundle on the disk; `state` is the content of its state.json."""

    path: Path
    state: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """The bundle in a folder. Raises `CheckpointError`."""
        try:
            state = json.loads((path / STATE_NAME).read_text(encoding="utf-8"))
            if (state["format"], state["version"]) != (FORMAT, VERSION):
                raise ValueError(f"it is {state['format']} {state['version']}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path}: not a replay bundle ({error}).") from error
        return cls(path, state)

    def model_tensors(self) -> dict[str, Tensor]:
        """Weights and buffers by name, on the CPU. Raises `CheckpointError`."""
        try:
            return safetensors.torch.load_file(self.path / MODEL_NAME)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{self.path / MODEL_NAME}: cannot be read ({error}).") from error


def write_bundle(path: Path, model: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write the part of a bundle that all processes share. Raises `SaveError`."""
    content = safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in model.items()})
    text = json.dumps(json_value({"format": FORMAT, "version": VERSION, **state}), indent=1) + "\n"
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / MODEL_NAME).write_bytes(content)
        write_durably(path / STATE_NAME, text)
    except OSError as error:
        raise SaveError(f"{path}: the replay bundle could not be saved ({error.strerror or error}).") from error


def write_rank(path: Path, rank: int, *, keys: Sequence[str], culprit: str | None) -> None:
    """Write the part of a bundle of one process. Raises `SaveError`."""
    try:
        write_durably(
            path / f"rank-{rank}.json", json.dumps({"culprit": culprit, "keys": list(keys)}, indent=1) + "\n"
        )
    except OSError as error:
        raise SaveError(f"{path}: the replay bundle could not be saved ({error.strerror or error}).") from error
