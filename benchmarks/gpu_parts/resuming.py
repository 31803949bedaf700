"""Whether a run that is stopped and resumed ends in the weights of one that was not."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dirvae import ResNetVAE
from dirvae.training import Trainer
from gpu_parts.machine import BATCH_SIZE, IS_CUDA, deterministic, quiet, settings
from pipelines import DataIterator, Example, Source

STEPS, STOP, SIDE = (20, 8, 64) if IS_CUDA else (4, 2, 32)


class Noise(Source):
    """Pictures that are drawn when they are decoded, from their place in the run."""

    name = "noise"

    def __init__(self, num: int = 200) -> None:
        self._num = num

    def __len__(self) -> int:
        return self._num

    def read(self, indices: Sequence[int]) -> list[Example]:
        return [Example(int(index), str(index), b"") for index in indices]


def draw(example: Example, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """(3, SIDE, SIDE) uint8."""
    return rng.integers(0, 256, (3, SIDE, SIDE), np.uint8)


def resume(precision: str) -> dict[str, Any]:
    """Whether a run that is stopped, saved and resumed ends in the same weights, bit for bit; and one that is not."""

    def trainer(folder: Path) -> Trainer:
        torch.manual_seed(0)
        model = ResNetVAE(size=SIDE, preset="tiny", model_size=16)
        batches = DataIterator(Noise(), draw, batch_size=BATCH_SIZE // 4, shuffle=True, threads=2)
        return Trainer(model, batches, config=settings(steps=STEPS, precision=precision), out=folder)

    def whole(folder: Path) -> list[torch.Tensor]:
        run = trainer(folder)
        run.fit()
        return [value.detach().cpu() for value in run.model.state_dict().values()]

    with quiet(), deterministic(), tempfile.TemporaryDirectory() as scratch:
        first, repeated = whole(Path(scratch, "first")), whole(Path(scratch, "repeated"))
        calls = iter(range(STOP + 1))
        trainer(Path(scratch, "stopped")).fit(should_stop=lambda: next(calls) == STOP)
        again = trainer(Path(scratch, "stopped"))
        assert again.resume()
        assert again.step == STOP
        again.fit()
        resumed = [value.detach().cpu() for value in again.model.state_dict().values()]
    return {
        "precision": precision,
        "repeated_exactly": all(map(torch.equal, first, repeated)),
        "resumed_exactly": all(map(torch.equal, first, resumed)),
    }
