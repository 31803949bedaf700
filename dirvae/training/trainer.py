"""The training loop: feed, update, log, save. Resuming it is exact.

A step is a function of the weights, the optimiser's state, the batch and the step's number: noise follows from (seed,
step), learning rate and KL weight are functions of the step, and the feed knows its position. A checkpoint is
therefore complete without the state of a random generator.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from dirvae.seeding import Purpose, derive_seed, seed_generators, seeded
from dirvae.training.checkpoint import Checkpoint, CheckpointFolder
from dirvae.training.config import FitConfig
from dirvae.training.errors import ConfigError, SaveError, TrainingWarning
from dirvae.training.event_file import EventFile
from dirvae.training.feed import Feed
from dirvae.training.learning_rate import learning_rate_factor
from dirvae.training.logging import finite_or_none
from dirvae.training.objective import Bound, Loss, split_terms
from dirvae.training.precision import Precision, choose_device
from dirvae.training.ranks import ONE_RANK, Ranks
from dirvae.training.recorder import Recorder
from dirvae.training.states import (
    load_model_tensors,
    load_optimizer_state,
    model_to_tensors,
    optimizer_to_tensors,
)
from dirvae.training.update import Updater

__all__ = ["Evaluate", "Trainer"]

Evaluate = Callable[[Any], dict[str, Any]]
"""(model) → JSON values by name; the highest "bound", or "objective", marks the best checkpoint."""


class Trainer:
    """Trains a model on batches: `fit` runs to the end of `config`, `resume` goes back to the last checkpoint.

    `batches` is any iterable that can be iterated again: of batches, tensors or arrays (see `Feed`). `loss` is
    (model, batch) → named scalar terms, of which "loss" is minimised; the model's own bound by default. Labels and
    fields are in `batch.source`, the batch as it was given.
    `optimizer` is Adam by default. `evaluate` runs at every save and at the end. `out` is the run folder for
    checkpoints and metrics; None keeps nothing. `ranks` says which process of several this one is: only the first
    writes files, noise differs from rank to rank, and an update is skipped on all ranks or on none. `on_save` is called
    with the trainer after every checkpoint but the last, whose writing ends `fit`; its errors pass through.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[Any],
        *,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        config: FitConfig | None = None,
        evaluate: Evaluate | None = None,
        out: str | os.PathLike[str] | None = None,
        ranks: Ranks = ONE_RANK,
        on_save: Callable[[Trainer], None] | None = None,
    ) -> None:
        self.ranks = ranks
        self.config = config if config is not None else FitConfig()
        self.device = choose_device(self.config.device)
        self.model = model.to(self.device)
        self.optimizer = optimizer if optimizer is not None else _adam(self.model, self.config, self.device)
        self.step = 0
        self.evaluation: dict[str, Any] | None = None
        self.best: dict[str, Any] | None = None
        self._feed = Feed(batches, self.device, seed=self.config.seed)
        self.total_steps = _count_steps(self.config, self._feed)
        self._loss = loss if loss is not None else Bound(self.config)
        self._evaluate = evaluate
        self._learning_rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.precision = Precision.choose(self.config.precision, self.device)
        self._updater = Updater(self.model, self.optimizer, self.precision, ranks=ranks)
        self._checkpoints = (
            CheckpointFolder(Path(out) / "checkpoints", keep=self.config.keep) if out is not None else None
        )
        self._saved_step: int | None = None
        folder = Path(out) if out is not None else None
        self.on_save = on_save
        self._recorder = Recorder(
            folder, total_steps=self.total_steps, ranks=ranks, tensorboard=self.config.tensorboard
        )
        self._numbers: dict[str, float] = {}

    @property
    def skipped_updates(self) -> int:
        """Updates skipped since the run was started because something was not finite."""
        return self._updater.tally().skipped

    @property
    def events(self) -> EventFile | None:
        """The file that a `tensorboard` run writes beside its metrics; None without one."""
        return self._recorder.events

    def fit(self, *, should_stop: Callable[[], bool] = lambda: False) -> int:
        """Train to the end, or until `should_stop()` is true between two steps; save; return the steps done.

        Raises `NonFiniteError` when too many updates in a row were not finite, and `SaveError` if the last
        checkpoint cannot be written (earlier failures only warn). The data's own errors pass through.
        """
        if self._saved_step is None and self._checkpoints is not None and self._checkpoints.steps():
            raise ConfigError(
                f"{self._checkpoints.folder}: holds the checkpoints of a run. Call resume() to continue it, or give "
                "another folder."
            )
        self._recorder.start(self.step, skipped=self.skipped_updates)
        self.model.train()
        try:
            with seeded(self.config.seed, self.device):
                while self.step < self.total_steps and not should_stop():
                    self._update()
                    self._log_and_save()
                if self._saved_step != self.step:
                    self._save()
        finally:
            self._recorder.close()
            self._feed.close()
        return self.step

    def evaluate(self) -> dict[str, Any] | None:
        """Evaluate the current model, keep and log the numbers; None without an `evaluate`."""
        if self._evaluate is None:
            return None
        self.evaluation = finite_or_none(self._evaluate(self.model))
        self.model.train()
        goal = "bound" if "bound" in self.evaluation else "objective"
        reached = self.evaluation.get(goal)
        if reached is not None and (self.best is None or reached > self.best.get(goal, -math.inf)):
            self.best = {"step": self.step, goal: reached}
        self._recorder.held_out(self.step, self.evaluation)
        return self.evaluation

    def resume(self) -> bool:
        """Go back to the newest complete checkpoint in `out`; False if no checkpoint exists. Later metrics are removed.

        Raises `ConfigError` if a setting differs that may not change, `CheckpointError` if the model or optimiser
        does not fit, and the data's own error for other data.
        """
        if self._checkpoints is None:
            raise ConfigError("there is no run folder to resume from; give the Trainer out=FOLDER.")
        checkpoint = self._checkpoints.newest()
        if checkpoint is not None:
            self._load(checkpoint)
        self._recorder.cut_back(self.step)
        return checkpoint is not None

    def _update(self) -> None:
        config, self.evaluation = self.config, None
        seed_generators(derive_seed(config.seed, Purpose.STEP, self.ranks.index(self.step)), self.device)
        factor = learning_rate_factor(
            self.step, total=self.total_steps, warmup=config.learning_rate_warmup, cooldown=config.cooldown
        )
        for group, rate in zip(self.optimizer.param_groups, self._learning_rates, strict=True):
            group["lr"] = rate * factor
        batch = self._feed.take(self.step)
        with self.precision.autocast():
            terms, numbers = split_terms(self._loss(self.model, batch))
        is_finite, norm = self._updater.apply(terms, clip=config.clip)
        self._numbers = {**numbers, "learning_rate": self._learning_rates[0] * factor, "epoch": self._feed.epoch}
        self._recorder.count({**terms, "gradient_norm": norm}, is_finite, num_examples=batch.num_examples)
        self.step += 1

    def _log_and_save(self) -> None:
        is_save = self.step == self.total_steps or self.step % self.config.save_every == 0
        if is_save or self.step % self.config.log_every == 0:
            waited = self._feed.take_wait_seconds()
            self._recorder.log(self.step, self._updater.tally(), numbers=self._numbers, wait_seconds=waited)
        if is_save:
            best = self.best
            self.evaluate()
            try:
                self._save()
            except SaveError as error:
                if self.step == self.total_steps:
                    raise
                self.best = best
                warnings.warn(f"{error} Training continues.", TrainingWarning, stacklevel=3)
            else:
                if self.on_save is not None and self.step < self.total_steps:
                    self.on_save(self)
                    self.model.train()
            self._recorder.open_window()

    def _save(self) -> None:
        if self._checkpoints is not None and self.ranks.is_first:
            self._write(self._checkpoints)
        self._saved_step = self.step

    def _write(self, checkpoints: CheckpointFolder) -> None:
        tensors, optimizer = optimizer_to_tensors(self.optimizer)
        state = {
            "config": self.config.to_json(),
            "model": {"network": type(self.model).__name__, "arguments": _arguments(self.model)},
            "feed": self._feed.state_dict(),
            "optimizer": optimizer,
            **self._updater.state_dict(),
            "evaluation": self.evaluation,
            "best": self.best,
            "torch": torch.__version__,
        }
        checkpoints.save(
            self.step,
            model=model_to_tensors(self.model),
            optimizer=tensors,
            state=state,
            best_step=self.best["step"] if self.best else None,
        )

    def _load(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        if changes := _changes(self.config, state["config"]):
            raise ConfigError(
                f"{checkpoint.path}: the run was started with other settings ({'; '.join(changes)}). Resume with the "
                "old values, or start a new run."
            )
        load_model_tensors(self.model, checkpoint.model_tensors(), origin=str(checkpoint.path))
        load_optimizer_state(self.optimizer, checkpoint.optimizer_tensors(), state["optimizer"])
        self._updater.load_state_dict(state)
        self._feed.load_state_dict(state["feed"])
        self.step = self._saved_step = checkpoint.step
        self.evaluation, self.best = state["evaluation"], state["best"]


def _changes(config: FitConfig, saved: Mapping[str, Any]) -> list[str]:
    """The differences from a checkpoint's settings that a resumed run may not have, each as `name: old → new`.

    Version 1 of run folders saved the settings of data and model here, too; they are compared if `config` has them.
    """
    before = {**FitConfig().to_json(), **saved}
    names = [name for name in config.fixed_names() if name in before and before[name] != getattr(config, name)]
    return [f"{name}: {before[name]} → {getattr(config, name)}" for name in names]


def _arguments(model: nn.Module) -> Any:
    """The arguments that make the model again, as JSON; None for a model with parts that were given as modules."""
    try:
        return getattr(model, "config", None)
    except ValueError:
        return None


def _adam(model: nn.Module, config: FitConfig, device: torch.device) -> Optimizer:
    parameters = [value for value in model.parameters() if value.requires_grad]
    is_fused = device.type in ("cpu", "cuda")
    return torch.optim.Adam(parameters, lr=config.learning_rate, betas=(0.9, 0.99), fused=is_fused)


def _count_steps(config: FitConfig, feed: Feed) -> int:
    limits = [config.steps] if config.steps is not None else []
    if config.epochs is not None:
        limits.append(config.epochs * feed.batches_per_epoch())
    return min(limits)
