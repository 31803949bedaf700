"""Checkpoints: folders `checkpoints/00001500/`, each complete or absent.

    model.safetensors       weights and buffers
    optimizer.safetensors   the optimiser's tensors, named `PARAMETER.STATE`
    average.safetensors     averaged weights, where there are any
    state.json              everything else: step, position in the data, settings, and a digest of each file

A checkpoint is written into a temporary folder, every file and folder is flushed to the disk, and a rename moves it
to its place; older ones are removed after that. A save that fails leaves the earlier checkpoints unchanged.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from dirvae.training.errors import CheckpointError, SaveError, TrainingWarning
from dirvae.training.json_values import json_value
from pipelines.storage.durable_files import fsync_folder, fsync_path

__all__ = ["CHECKPOINT_VERSION", "Checkpoint", "CheckpointFolder"]

CHECKPOINT_FORMAT = "dirvae-checkpoint"
CHECKPOINT_VERSION = 1
STATE_NAME = "state.json"
MODEL_NAME = "model.safetensors"
OPTIMIZER_NAME = "optimizer.safetensors"
AVERAGE_NAME = "average.safetensors"
_STEP_NAME = re.compile(r"\d{8,}")


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint on the disk, which was complete when it was opened; `state` is the content of its state.json."""

    path: Path
    step: int
    state: dict[str, Any]

    def model_tensors(self) -> dict[str, Tensor]:
        """Weights and buffers by name, on the CPU. Raises `CheckpointError`."""
        return _read_tensors(self.path / MODEL_NAME)

    @property
    def has_average(self) -> bool:
        """Whether there are averaged weights."""
        return AVERAGE_NAME in self.state["files"]

    def average_tensors(self) -> dict[str, Tensor] | None:
        """The averaged weights by name, on the CPU; None if there are none. Raises `CheckpointError`."""
        return _read_tensors(self.path / AVERAGE_NAME) if self.has_average else None

    def tensors(self, weights: str | None = None) -> dict[str, Tensor]:
        """Weights and buffers by name: the averaged weights ("ema"), those that were trained ("raw"), or by default
        averaged ones where there are any. Raises `CheckpointError`, also for "ema" where there are none.
        """
        if weights not in (None, "ema", "raw"):
            raise CheckpointError(f"weights is {weights!r}; it must be 'ema', 'raw' or None.")
        average = None if weights == "raw" else self.average_tensors()
        if weights == "ema" and average is None:
            raise CheckpointError(
                f"{self.path}: has no averaged weights. Take the 'raw' ones, or train with --ema."
            )
        return {**self.model_tensors(), **(average or {})}

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """The optimiser's tensors by `PARAMETER.STATE`, on the CPU. Raises `CheckpointError`."""
        return _read_tensors(self.path / OPTIMIZER_NAME)


class CheckpointFolder:
    """The checkpoints of one run: the last `keep` of them and the best one. One writer at a time."""

    def __init__(self, folder: str | os.PathLike[str], *, keep: int = 2) -> None:
        self.folder = Path(folder)
        self.keep = keep

    def steps(self) -> list[int]:
        """Steps that have a checkpoint folder, complete or not, ascending."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if _STEP_NAME.fullmatch(path.name))

    def save(
        self,
        step: int,
        *,
        model: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        state: Mapping[str, Any],
        average: Mapping[str, Tensor] | None = None,
        best_step: int | None = None,
    ) -> Path:
        """Write the checkpoint of a step, then remove all but the last `keep` and that of `best_step`.

        `state` holds JSON values. Raises `SaveError` if it cannot be written; the older ones are then untouched.
        """
        final = self.folder / f"{step:08d}"
        beside = self.folder / f".{final.name}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
            beside.mkdir()
            files = {
                MODEL_NAME: _write_tensors(beside / MODEL_NAME, model),
                OPTIMIZER_NAME: _write_tensors(beside / OPTIMIZER_NAME, optimizer),
            }
            if average is not None:
                files[AVERAGE_NAME] = _write_tensors(beside / AVERAGE_NAME, average)
            (beside / STATE_NAME).write_text(_state_text(step, files, state), encoding="utf-8")
            fsync_path(beside / STATE_NAME)
            fsync_folder(beside)
            self._appear(beside, final)
        except OSError as error:
            raise SaveError(
                f"{final}: the checkpoint could not be saved ({error.strerror or error}). Free some space or "
                "choose another disk; earlier checkpoints are untouched."
            ) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        self._prune(step, best_step)
        return final

    def open(self, step: int) -> Checkpoint:
        """The checkpoint of a step, checked against its digests. Raises `CheckpointError`."""
        path = self.folder / f"{step:08d}"
        try:
            state = json.loads((path / STATE_NAME).read_text(encoding="utf-8"))
            if state["format"] != CHECKPOINT_FORMAT:
                raise ValueError(f"its format is {state['format']!r}")
            version = state["version"]
            if version == CHECKPOINT_VERSION:
                _check_files(path, state)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path}: not a whole checkpoint ({_reason(error)}).") from error
        if version != CHECKPOINT_VERSION:
            raise CheckpointVersionError(
                f"{path}: checkpoint version {version!r}; this library reads {CHECKPOINT_VERSION}. Update dirvae."
            )
        return Checkpoint(path, step, state)

    def newest(self) -> Checkpoint | None:
        """The newest complete checkpoint, or None if there is not one; warns of each damaged one it skips.

        Raises `CheckpointError` if there are checkpoints and all are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self.open(step)
            except CheckpointVersionError:
                raise
            except CheckpointError as error:
                warnings.warn(f"{error} Going back to the one before.", TrainingWarning, stacklevel=2)
        if steps:
            raise CheckpointError(
                f"{self.folder}: all {len(steps)} checkpoints are damaged. Move the folder away to start again."
            )
        return None

    def _appear(self, beside: Path, final: Path) -> None:
        if final.exists():  # a damaged one of the same step, which training has reached again
            final.rename(self.folder / f".{final.name}.replaced.tmp")
        beside.rename(final)
        fsync_folder(self.folder)

    def _remove_leftovers(self) -> None:
        for path in self.folder.glob(".*.tmp"):
            shutil.rmtree(path)

    def _prune(self, step: int, best_step: int | None) -> None:
        older = [one for one in self.steps() if one <= step]
        kept = {*older[-self.keep :], best_step}
        try:
            self._remove_leftovers()
            for one in older:
                if one not in kept:
                    shutil.rmtree(self.folder / f"{one:08d}")
        except OSError as error:
            warnings.warn(
                f"{self.folder}: old checkpoints could not be removed ({error}).", TrainingWarning, stacklevel=3
            )


class CheckpointVersionError(CheckpointError):
    """The checkpoint has another format version: going back to an older one would hide that."""


def _state_text(step: int, files: dict[str, Any], state: Mapping[str, Any]) -> str:
    head = {"format": CHECKPOINT_FORMAT, "version": CHECKPOINT_VERSION, "step": step, "files": files}
    try:
        return json.dumps(json_value({**head, **state}), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"step {step}: the state to save is not JSON ({error}). Give batches whose state_dict() is."
        ) from error


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    content = safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    path.write_bytes(content)
    fsync_path(path)
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}).") from error


def _check_files(path: Path, state: dict[str, Any]) -> None:
    for name in dict.fromkeys((MODEL_NAME, OPTIMIZER_NAME, *state["files"])):
        expected = state["files"][name]
        found = (path / name).stat().st_size
        if found != expected["bytes"]:
            raise ValueError(f"{name} has {found:,} of {expected['bytes']:,} bytes")
        with open(path / name, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected["sha256"]:
                raise ValueError(f"{name} does not match its digest")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{Path(error.filename or '').name}: {error.strerror}"
    if isinstance(error, json.JSONDecodeError):
        return f"{STATE_NAME} is cut short or not JSON"
    return str(error)
