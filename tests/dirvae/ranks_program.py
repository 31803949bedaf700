"""A small training for several processes: `torchrun … ranks_program.py FOLDER JSON`, JSON being a list of settings.

Each setting is trained one after the other into FOLDER/0, FOLDER/1 …; one that has a run there already is resumed. What
each process trained on is appended to `ledger-RANK.jsonl` beside the checkpoints, and the first one writes the weights
after every step and the loss of the step to `steps.safetensors`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from dirvae import ResNetVAE
from dirvae.latents import Dirichlet
from dirvae.latents.dirichlet_prior import MomentPrior
from dirvae.losses import masked_mean
from dirvae.training import Callbacks, FitConfig, Trainer
from dirvae.training.feed import FeedBatch
from dirvae.training.objective import Bound
from dirvae.training.ranks import ONE_RANK, Ranks, leave_processes, ranks_of_environment
from dirvae.training.signals import StopSignals
from pipelines import DataIterator, Example, Source

NUM_EXAMPLES, BATCH_SIZE, SIDE = 100, 24, 16
"""The last batch of an epoch has four examples: one for each of four processes."""


class Pictures(Source):
    """Pictures that are drawn when they are decoded."""

    name = "pictures"

    def __len__(self) -> int:
        return NUM_EXAMPLES

    def read(self, indices: Sequence[int]) -> list[Example]:
        return [Example(int(index), str(index), b"") for index in indices]


def draw(example: Example, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """(3, SIDE, SIDE) uint8, the same for an example every time."""
    return np.random.default_rng(example.index).integers(0, 256, (3, SIDE, SIDE), np.uint8)


def make_trainer(
    out: Path | None,
    ranks: Ranks,
    *,
    poison: str | None = None,
    session: int = 0,
    levels: str | None = None,
    **changes: Any,
) -> Trainer:
    """A trainer of `BATCH_SIZE` examples per update. The loss of the example called `poison` is NaN.

    `session` is a number of the start, which stands in the ledger. `levels`: those of the model.
    """
    torch.manual_seed(0)
    latent = Dirichlet(8, prior=MomentPrior(8, burn_in=0))
    model = ResNetVAE(SIDE, preset="tiny", model_size=8, latent=latent, levels=levels, map_size=4)
    accumulate = changes.get("accumulate", 1)
    batches = DataIterator(
        Pictures(),
        draw,
        batch_size=BATCH_SIZE // (accumulate * ranks.world_size),
        shuffle=True,
        seed=1,
        threads=1,
        rank=ranks.rank,
        world_size=ranks.world_size,
        tail="keep" if ranks.world_size == 1 else "pad",
    )
    every = {"log_every": 10, "save_every": 100}
    config = FitConfig(
        **{"steps": 40, "kl_warmup": 0, "device": "cpu", "ema": 0.9, "clip": None, **every, **changes}
    )
    bound = Bound(config)

    def loss(given: Any, batch: FeedBatch) -> Mapping[str, torch.Tensor | float]:
        keys, mask = batch.source.keys, batch.source.mask
        real = [key for place, key in enumerate(keys) if mask is None or bool(mask[place])]
        if out is not None:
            with open(out / f"ledger-{ranks.rank}.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps([session, batch.step, real]) + "\n")
        terms = dict(bound(given, batch))
        return {**terms, "loss": terms["loss"] * float("nan")} if poison in real else terms

    return Trainer(model, batches, loss=loss, config=config, out=out, ranks=ranks)


def train(
    out: Path | None, ranks: Ranks = ONE_RANK, *, stop: StopSignals | None = None, **settings: Any
) -> Trainer:
    """Train, or continue; the trainer afterwards."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    kill_at = settings.pop("kill_at", None)
    trainer = make_trainer(out, ranks, **settings)
    steps: dict[str, torch.Tensor] = {}

    def note(moment: Any) -> None:
        weights = torch.cat([value.detach().flatten() for value in trainer.model.parameters()])
        steps[f"{moment.step:04d}"] = torch.cat((moment.terms["loss"].detach()[None], weights))
        if out is not None:
            with open(out / "losses.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps([moment.step - 1, float(moment.terms["loss"])]) + "\n")

    trainer._callbacks = Callbacks(after_step=note)
    if out is not None:
        trainer.resume()

    def should_stop() -> bool:
        if kill_at is not None and ranks.rank == ranks.world_size - 1 and trainer.step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return stop is not None and stop()

    trainer.fit(should_stop=should_stop)
    if out is not None and ranks.is_first:
        save_file(steps, out / "steps.safetensors")
    return trainer


def train_toy(out: Path, ranks: Ranks, *, accumulate: int = 1) -> None:
    """A linear model in float64 with plain gradient descent, over an epoch whose last batch is a short one."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1).double()
    batches = DataIterator(
        Pictures(),
        lambda example, rng: np.random.default_rng(example.index).normal(size=4),
        batch_size=BATCH_SIZE // (accumulate * ranks.world_size),
        rank=ranks.rank,
        world_size=ranks.world_size,
        tail="keep" if ranks.world_size == 1 else "pad",
    )

    def loss(given: Any, batch: FeedBatch) -> Mapping[str, torch.Tensor]:
        error = (given(batch.data) - batch.data.sum(1, keepdim=True)).square().sum(1)
        return {"loss": masked_mean(error, batch.mask)}

    steps: dict[str, torch.Tensor] = {}
    config = FitConfig(
        steps=5, accumulate=accumulate, clip=None, learning_rate_warmup=0, cooldown=None, device="cpu"
    )
    callbacks = Callbacks(after_step=lambda moment: steps.update({str(moment.step): model.weight.detach().clone()}))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    Trainer(model, batches, loss=loss, optimizer=optimizer, config=config, ranks=ranks, callbacks=callbacks).fit()
    if ranks.is_first:
        save_file(steps, out / "steps.safetensors")


def main(folder: str, settings: str) -> None:
    torch.set_num_threads(1)
    with StopSignals() as stop:
        ranks = ranks_of_environment()
        for number, one in enumerate(json.loads(settings)):
            if one.pop("toy", False):
                train_toy(Path(folder, str(number)), ranks, **one)
            else:
                train(Path(folder, str(number)), ranks, stop=stop, **one)
        leave_processes()


if __name__ == "__main__":
    main(*sys.argv[1:])
