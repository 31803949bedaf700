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
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dirvae.seeding import Purpose, derive_seed, seeded_everywhere
from dirvae.training.background import BackgroundSaves
from dirvae.training.callbacks import Callback, Callbacks, Moment
from dirvae.training.checkpoint import Checkpoint, CheckpointFolder
from dirvae.training.config import FitConfig
from dirvae.training.early_stopping import Patience
from dirvae.training.ema import AveragedWeights
from dirvae.training.errors import ConfigError, NonFiniteError, SaveError, TrainingWarning
from dirvae.training.event_file import EventFile
from dirvae.training.feed import Feed
from dirvae.training.given_parts import refuse_wrong_kinds
from dirvae.training.gradients import Gradients
from dirvae.training.json_values import json_value
from dirvae.training.learning_rate import LearningRates
from dirvae.training.logging import finite_or_none
from dirvae.training.objective import Bound, Loss
from dirvae.training.precision import Precision, choose_device
from dirvae.training.ranks import ONE_RANK, Ranks
from dirvae.training.recorder import CLIPPED, Recorder
from dirvae.training.replay import Bundle, Replayed, write_bundle, write_rank
from dirvae.training.signals import InterruptAfterStep, StopNow, interruptible
from dirvae.training.states import (
    load_model_tensors,
    load_optimizer_state,
    model_to_tensors,
    optimizer_to_tensors,
)
from dirvae.training.update import Updater, refuse_misfit
from dirvae.training.wrappers import unwrapped
from pipelines.batching.iteration import BatchIterator

__all__ = ["Evaluate", "Trainer"]

Evaluate = Callable[[Any], dict[str, Any]]
"""(model) → JSON values by name; the highest "bound", or "objective", marks the best checkpoint."""


class Trainer:
    """Trains a model on batches: `fit` runs to the end of `config`, `resume` goes back to the last checkpoint.

    `batches` is any iterable that can be iterated again: of batches, tensors or arrays (see `Feed`). `loss` is
    (model, batch) → named scalar terms, of which "loss" is minimised; the model's own bound by default. Labels and
    fields are in `batch.source`, the batch as it was given.
    `optimizer` is Adam by default. Its learning rates follow `config`, unless a scheduler was made for it or the caller
    sets them: then they are the caller's. A `scheduler` that is given steps after every update and is saved. `evaluate`
    runs at every save and at the end; it is given the model without what `torch.compile` or data parallelism put around
    it, and generators seeded by the step. `out` is the run folder for
    checkpoints and metrics; None keeps nothing. `ranks` says which process of several this one is: only the first
    writes files, noise differs from rank to rank, and an update is skipped on all ranks or on none. `schedule` is a
    function of the step, from 0, that gives the factor of the learning rate instead of the config's schedule and
    warm-up; give it again to resume. `callbacks` are functions to call after a step, an evaluation or a checkpoint.
    `on_save` is called with the trainer after every checkpoint but the last, whose writing ends `fit`; its errors pass
    through.

    Noise and the order of the data follow from `config.seed`. The weights are the model's own: make the model under
    `torch.manual_seed` to have the same ones again. Raises `ConfigError` for a model whose shapes are not known yet,
    and for an optimiser that needs a closure or holds none of the model's weights.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[Any],
        *,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        scheduler: LRScheduler | None = None,
        config: FitConfig | None = None,
        evaluate: Evaluate | None = None,
        out: str | os.PathLike[str] | None = None,
        schedule: Callable[[int], float] | None = None,
        callbacks: Callbacks | None = None,
        ranks: Ranks = ONE_RANK,
        on_save: Callable[[Trainer], None] | None = None,
    ) -> None:
        refuse_wrong_kinds(
            config=config,
            callbacks=callbacks,
            optimizer=optimizer,
            scheduler=scheduler,
            functions={"loss": loss, "evaluate": evaluate, "schedule": schedule, "on_save": on_save},
        )
        self.ranks = ranks
        self.config = config if config is not None else FitConfig()
        self.device = choose_device(self.config.device)
        refuse_misfit(model, optimizer)
        _refuse_other_ranks(batches, ranks)
        self._module = unwrapped(model.to(self.device))
        self.optimizer = optimizer if optimizer is not None else _adam(self._module, self.config, self.device)
        self.model = model
        self.step = 0
        self.evaluation: dict[str, Any] | None = None
        self.best: dict[str, Any] | None = None
        dtype = _dtype_of(self._module)
        self._feed = Feed(batches, self.device, seed=self.config.seed, dtype=dtype, ranks=ranks)
        self.total_steps = _count_steps(self.config, self._feed)
        self._loss = loss if loss is not None else Bound(self.config)
        self._evaluate = evaluate
        self._learning_rates = LearningRates(
            self.optimizer, self.config, total_steps=self.total_steps, scheduler=scheduler, schedule=schedule
        )
        self.precision = Precision.choose(self.config.precision, self.device)
        self._updater = Updater(self._module, self.optimizer, self.precision, ranks=ranks)
        self._gradients = Gradients(
            self._module,
            self._feed,
            self._updater,
            self._loss,
            config=self.config,
            precision=self.precision,
            ranks=ranks,
        )
        self._checkpoints = (
            CheckpointFolder(Path(out) / "checkpoints", keep=self.config.keep) if out is not None else None
        )
        self._saved_step: int | None = None
        self._callbacks = callbacks if callbacks is not None else Callbacks()
        self._terms: Mapping[str, Tensor] = {}
        self._best_before: dict[str, Any] | None = None
        self._begun: tuple[int, dict[str, Any] | None] = (0, None)
        self._saves = (
            BackgroundSaves(self._checkpoints)
            if self._checkpoints is not None and self.config.save_in_background and ranks.is_first
            else None
        )
        self._average = None if self.config.ema is None else AveragedWeights(self._module, self.config.ema)
        self._patience = Patience(self.config.patience)
        if self.config.patience is not None and evaluate is None:
            raise ConfigError(
                f"patience is {self.config.patience}, but nothing is evaluated. Hold examples out, or leave it out."
            )
        folder = Path(out) if out is not None else None
        if self.config.tensorboard and folder is None:
            warnings.warn(
                "tensorboard is on, but there is no run folder to write into; give the Trainer out=FOLDER.",
                TrainingWarning,
                stacklevel=2,
            )
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

    @property
    def stopped_early(self) -> bool:
        """Whether as many evaluations in a row as the config's `patience` were not better than the best one."""
        return self._patience.is_over

    @property
    def _is_unfinished(self) -> bool:
        return self.step < self.total_steps and not self.stopped_early

    def averaged(self) -> AbstractContextManager[None]:
        """Within this context the model has its averaged weights, where the config has an `ema`."""
        return nullcontext() if self._average is None else self._average.applied()

    def fit(self, *, should_stop: Callable[[], bool] = lambda: False) -> int:
        """Train to the end, early stopping, or until `should_stop()` is true between two steps; save; return the steps
        done.

        Ctrl-C in a script or a notebook stops after the step in progress, saves, and then raises `KeyboardInterrupt`;
        a second one interrupts at once. Raises `NonFiniteError` when too many updates in a row were not finite, and
        `SaveError` if the last checkpoint cannot be written (earlier failures only warn). The data's own errors pass
        through.
        """
        if self._saved_step is None and self._checkpoints is not None and self._checkpoints.steps():
            raise ConfigError(
                f"{self._checkpoints.folder}: holds the checkpoints of a run. Call resume() to continue it, or give "
                "another folder."
            )
        if isinstance(self._loss, Bound) and (caution := self._loss.caution(self.total_steps)) is not None:
            warnings.warn(caution, TrainingWarning, stacklevel=2)
        self._recorder.start(self.step, skipped=self.skipped_updates)
        self.model.train()
        if self._average is not None and self.step == 0:
            self._average.load(None, origin="the model")  # whose weights may have been loaded since it was given
        interrupt = InterruptAfterStep()
        try:
            with interrupt, seeded_everywhere(self.config.seed, self.device):
                while self._is_unfinished and not self.ranks.agree(should_stop() or interrupt()):
                    try:
                        self._update()
                    except StopNow:  # before anything was learned of this update
                        break
                    self._tell(self._callbacks.after_step)
                    self._log_and_save()
                if self._saved_step != self.step:
                    self._save()
                self._settle_save()
        except NonFiniteError as error:
            raise NonFiniteError(f"{error}{self._keep_for_replay()}") from error
        finally:
            if self._saves is not None:
                self._saves.close()
            self._recorder.close()
            self._feed.close()
        if interrupt():
            kept = "saved" if self._checkpoints is not None else "not saved, because there is no out"
            raise KeyboardInterrupt(f"training was stopped after step {self.step:,}, which is {kept}")
        return self.step

    def evaluate(self) -> dict[str, Any] | None:
        """Evaluate the current model, keep and log the numbers; None without an `evaluate`.

        Raises `ConfigError` for values that are not JSON, and with a `patience` where there is neither "bound" nor
        "objective"; what `evaluate` itself raises passes through.
        """
        return self._evaluate_by(self._evaluated)

    def _evaluate_by(self, make: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        if self._evaluate is None:
            return None
        self.evaluation = self.ranks.by_first(make)
        self.model.train()
        goal = "bound" if "bound" in self.evaluation else "objective"
        if self.config.patience is not None and goal not in self.evaluation:
            raise ConfigError(
                f"patience is {self.config.patience}, but evaluate gave {', '.join(self.evaluation) or 'nothing'}, and "
                "neither 'bound' nor 'objective', by which evaluations are compared. Add one of them, higher for "
                "better, or leave patience out."
            )
        reached = self.evaluation.get(goal)
        if reached is not None and (self.best is None or reached > self.best.get(goal, -math.inf)):
            self.best = {"step": self.step, goal: reached}
        self._recorder.held_out(self.step, self.evaluation)
        return self.evaluation

    def _evaluated_unless_stopped(self) -> dict[str, Any]:
        with interruptible():
            return self._evaluated()

    def _evaluated(self) -> dict[str, Any]:
        assert self._evaluate is not None
        seed = derive_seed(self.config.seed, Purpose.CALLERS_EVALUATION, self.step)
        with self.averaged(), seeded_everywhere(seed, self.device):
            found = self._evaluate(self._module)
        try:
            return finite_or_none(found)
        except TypeError as error:
            raise ConfigError(f"evaluate: {error}. Leave it out, or make it a number.") from error

    def resume(self) -> bool:
        """Go back to the newest complete checkpoint in `out`; False if no checkpoint exists. Later metrics are removed.

        Raises `ConfigError` if a setting differs that may not change, or more steps are done than the config asks for,
        `CheckpointError` if the model or optimiser does not fit, and the data's own error for other data.
        """
        if self._checkpoints is None:
            raise ConfigError("there is no run folder to resume from; give the Trainer out=FOLDER.")
        checkpoint = self._checkpoints.newest()
        if checkpoint is not None:
            self._load(checkpoint)
        self._recorder.cut_back(self.step)
        return checkpoint is not None

    def rehearse(self, *, resume: bool = False) -> dict[str, float]:
        """Go one batch forward and backward without an update, and write nothing; the loss terms of that batch.

        `resume`: from the newest checkpoint in `out`, if there is one. The errors are those of `resume` and `fit`.
        """
        checkpoint = self._checkpoints.newest() if resume and self._checkpoints is not None else None
        if checkpoint is not None:
            self._load(checkpoint)
        self.model.train()
        try:
            seed = derive_seed(self.config.seed, Purpose.STEP, self.ranks.index(self._feed.number))
            with seeded_everywhere(seed, self.device):
                terms = self._gradients.rehearse(self.step)
        finally:
            self._feed.close()
        return {name: float(value) for name, value in terms.items()}

    def _update(self) -> None:
        config, self.evaluation = self.config, None
        self._learning_rates.set(self.step)
        learning_rate = self._learning_rates.first_group
        summed = self._gradients.add(self.step)
        terms = summed.terms
        is_finite, norm = self._updater.apply(terms, clip=config.clip)
        self._learning_rates.advance()
        if self._average is not None:
            self._average.update(self.step, is_finite)
        self._numbers = {**summed.numbers, "learning_rate": learning_rate, "epoch": self._feed.epoch}
        clipped = {} if config.clip is None else {CLIPPED: norm > config.clip}
        values = {**terms, "gradient_norm": norm, **clipped}
        self._recorder.count(values, is_finite, parts=frozenset(terms), num_examples=summed.num_examples)
        if self._callbacks.after_step is not None:
            self._terms = {name: self.ranks.sum(value) for name, value in terms.items()}
        self.step += 1

    def _tell(self, callback: Callback | None, checkpoint: Path | None = None) -> None:
        if callback is not None and self.ranks.is_first:
            moment = Moment(
                step=self.step,
                total_steps=self.total_steps,
                epoch=self._feed.epoch,
                learning_rate=self._numbers.get("learning_rate", self._learning_rates.first_group),
                terms=self._terms,
                evaluation=self.evaluation,
                best=self.best,
                checkpoint=checkpoint,
            )
            callback(moment)

    def _log_and_save(self) -> None:
        is_save = self.step == self.total_steps or self.step % self.config.save_every == 0
        if is_save or self.step % self.config.log_every == 0:
            waited = self._feed.take_wait_seconds()
            self._recorder.log(self.step, self._updater.tally(), numbers=self._numbers, wait_seconds=waited)
        if is_save:
            best = self._best_before = self.best
            try:
                evaluation = self._evaluate_by(self._evaluated_unless_stopped)
            except StopNow:
                evaluation, self.evaluation, self.best = None, None, best
            except BaseException:  # the weights outlive it, also where it is interrupted
                self.evaluation, self.best = None, best
                self._save()
                raise
            if evaluation is not None:
                self._patience.count(is_best=self.best is not None and self.best["step"] == self.step)
                self._tell(self._callbacks.after_evaluation)
            try:
                self._save()
            except SaveError as error:
                if self.step == self.total_steps:
                    raise
                self.best = best
                warnings.warn(f"{error} Training continues.", TrainingWarning, stacklevel=3)
            else:
                if self.on_save is not None and self.step < self.total_steps and self.ranks.is_first:
                    with suppress(StopNow), interruptible():
                        self.on_save(self)
                self.model.train()
            self._recorder.open_window()

    def _save(self) -> None:
        if self._checkpoints is not None:
            late, failure = self.ranks.by_first(partial(self._write_or_tell, self._checkpoints))
            if late is not None:
                self._tell_of_failure(late)
            if failure is not None:
                raise SaveError(failure)
        self._begun = (self.step, self._best_before)
        self._saved_step = self.step

    def _write_or_tell(self, checkpoints: CheckpointFolder) -> list[str | None]:
        """Write a checkpoint, or begin to; why the one before, and this one, could not be written: all ranks know."""
        late = None
        try:
            self._finish_save()
        except SaveError as error:
            late = str(error)
        try:
            self._write(checkpoints)
        except SaveError as error:
            return [late, str(error)]
        return [late, None]

    def _tell_of_failure(self, late: str) -> None:
        """Warn of a checkpoint that could not be written in the background: it cannot be the best one."""
        step, best_before = self._begun
        if self.best is not None and self.best["step"] == step:
            self.best = best_before
        warnings.warn(f"{late} Training continues.", TrainingWarning, stacklevel=4)

    def _finish_save(self) -> None:
        """Tell of a checkpoint that was written in the background. Raises `SaveError` if that failed."""
        path = None if self._saves is None else self._saves.finish()
        if path is not None:
            self._tell(self._callbacks.after_checkpoint, path)

    def _settle_save(self) -> None:
        """Wait for the last checkpoint. Raises `SaveError` on all ranks if it cannot be written."""
        if not self.config.save_in_background or self._checkpoints is None:
            return

        def settled() -> str | None:
            try:
                self._finish_save()
            except SaveError as error:
                return str(error)
            return None

        if (failure := self.ranks.by_first(settled)) is not None:
            raise SaveError(failure)

    def _keep_for_replay(self) -> str:
        """Save what the latest update needs to be gone through again; a sentence about it, if there is a run folder."""
        if self._checkpoints is None:
            return ""
        latest = self._gradients.latest
        path = self._checkpoints.folder.parent / "replay" / f"{latest.step:08d}"
        try:
            if self.ranks.is_first:
                state = {"step": latest.step, "config": self.config.to_json(), "feed": latest.feed}
                write_bundle(path, model_to_tensors(self._module), state)
            path.mkdir(parents=True, exist_ok=True)
            write_rank(path, self.ranks.rank, keys=latest.keys(), culprit=self._updater.culprit)
        except SaveError as error:
            return f" {error}"
        return f" {path} holds the last of them: Trainer.replay goes through it once more."

    def replay(self, bundle: str | os.PathLike[str]) -> Replayed:
        """Go through an update that was not finite again, without doing it; the model has the weights of then.

        `bundle` is a folder that a run wrote when it ended in `NonFiniteError`; the batches must be those of that run,
        on any number of processes. Raises `CheckpointError` for another model, and the data's own errors.
        """
        found = Bundle.open(Path(bundle))
        load_model_tensors(self._module, found.model_tensors(), origin=str(found.path))
        self.step = found.state["step"]
        self._feed.load_state_dict(found.state["feed"], step=self.step)
        self.model.train()
        try:
            with seeded_everywhere(self.config.seed, self.device):
                summed = self._gradients.add(self.step)
            bad = self._gradients.bad(summed)
        finally:
            self._gradients.forget()
            self._feed.close()
        terms = {name: float(value) for name, value in summed.terms.items()}
        return Replayed(self.step, terms, bad, self._gradients.latest.keys())

    def _write(self, checkpoints: CheckpointFolder) -> None:
        tensors, optimizer = optimizer_to_tensors(self.optimizer)
        state = {
            "config": self.config.to_json(),
            "total_steps": self.total_steps,
            "model": {"network": type(self._module).__name__, "arguments": _arguments(self._module)},
            "feed": self._feed.state_dict(),
            "data": self._feed.describe(),
            "optimizer": optimizer,
            "learning_rates": self._learning_rates.state_dict(),
            **self._updater.state_dict(),
            "evaluation": self.evaluation,
            "best": self.best,
            "early_stopping": self._patience.state_dict(),
            "torch": torch.__version__,
        }
        groups: dict[str, Mapping[str, Tensor] | None] = {
            "model": model_to_tensors(self._module),
            "optimizer": tensors,
            "average": None if self._average is None else self._average.tensors(),
        }
        best_step = self.best["step"] if self.best else None
        if self._saves is not None:
            self._saves.begin(self.step, tensors=groups, state=state, best_step=best_step)
        else:
            path = checkpoints.save(self.step, **groups, state=state, best_step=best_step)  # type: ignore[arg-type]
            self._tell(self._callbacks.after_checkpoint, path)

    def _load(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        if changes := _changes(self.config, state["config"]):
            raise ConfigError(
                f"{checkpoint.path}: the run was started with other settings ({'; '.join(changes)}). Resume with the "
                "old values, or start a new run."
            )
        if checkpoint.step > self.total_steps:
            raise ConfigError(
                f"{checkpoint.path}: the run has done {checkpoint.step:,} steps, more than the {self.total_steps:,} "
                f"asked for. Ask for {checkpoint.step:,} or more, by steps or epochs, to resume it, or start a new run."
            )
        load_model_tensors(self._module, checkpoint.model_tensors(), origin=str(checkpoint.path))
        load_optimizer_state(self.optimizer, checkpoint.optimizer_tensors(), state["optimizer"])
        if self._average is not None:
            self._average.load(checkpoint.average_tensors(), origin=str(checkpoint.path))
        self._patience.load_state_dict(state.get("early_stopping"))
        self._load_learning_rates(checkpoint)
        self._updater.load_state_dict(state)
        self._feed.load_state_dict(state["feed"], step=checkpoint.step)
        self.step = self._saved_step = checkpoint.step
        self.evaluation, self.best = state["evaluation"], state["best"]

    def _load_learning_rates(self, checkpoint: Checkpoint) -> None:
        """Continue the schedule, and warn where the rate jumps or the caller's own part of it is missing."""
        rates, state = self._learning_rates, checkpoint.state
        rates.load_state_dict(state.get("learning_rates", {"are_callers": False, "scheduler": None}))
        if rates.misses_scheduler:
            warnings.warn(
                "the optimiser has a scheduler whose state no checkpoint of this run holds, so that its learning rates "
                "start again; give it to the Trainer as scheduler.",
                TrainingWarning,
                stacklevel=4,
            )
        if rates.changes_schedule:
            had, is_now = ("no", "one") if rates.has_schedule else ("one", "none")
            warnings.warn(
                f"the run had {had} schedule function of its own, and now there is {is_now}, so that its learning rate "
                f"jumps at step {checkpoint.step:,}; give the Trainer the same schedule to continue as before.",
                TrainingWarning,
                stacklevel=4,
            )
        before = state.get("total_steps", state["config"]["steps"])
        if rates.are_callers or before in (None, self.total_steps):
            return
        then, now = rates.factor(checkpoint.step, before), rates.factor(checkpoint.step, self.total_steps)
        if now > 1.5 * then:
            warnings.warn(
                f"the run of {before:,} steps was cooling down at step {checkpoint.step:,}; continued to "
                f"{self.total_steps:,} steps, its learning rate jumps from {then:.1%} to {now:.1%} of the full one. To "
                "compare with an undisturbed run, start one of the new length.",
                TrainingWarning,
                stacklevel=4,
            )


def _refuse_other_ranks(batches: Any, ranks: Ranks) -> None:
    """Raise `ConfigError` for an iterator of `pipelines` that reads for another process."""
    if not isinstance(batches, BatchIterator):
        return
    found = (batches.rank, batches.world_size)
    if found != (ranks.rank, ranks.world_size):
        raise ConfigError(
            f"the batches are those of rank {found[0]} of {found[1]}, but this is rank {ranks.rank} of "
            f"{ranks.world_size}. Give the iterator rank={ranks.rank}, world_size={ranks.world_size}."
        )


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
        return json_value(getattr(model, "config", None))
    except (TypeError, ValueError):
        return None


def _dtype_of(model: nn.Module) -> torch.dtype:
    """What data is given to a model in: float64 for weights of float64, else float32."""
    first = next((value.dtype for value in model.parameters() if value.is_floating_point()), torch.float32)
    return torch.float64 if first == torch.float64 else torch.float32


def _adam(model: nn.Module, config: FitConfig, device: torch.device) -> Optimizer:
    parameters = [value for value in model.parameters() if value.requires_grad]
    is_fused = device.type in ("cpu", "cuda")
    return torch.optim.Adam(parameters, lr=config.learning_rate, betas=(0.9, 0.99), fused=is_fused)


def _count_steps(config: FitConfig, feed: Feed) -> int:
    limits = [config.steps] if config.steps is not None else []
    if config.epochs is not None:
        limits.append(config.epochs * -(-feed.batches_per_epoch() // config.accumulate))
    return min(limits)
