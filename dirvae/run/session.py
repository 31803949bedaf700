"""One training run, from settings to report, without the command line around it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dirvae.run.config import RunConfig, read_config, write_config
from dirvae.run.fitted_prior import fit_run_prior
from dirvae.run.folder import CONFIG_NAME, TEACHER_NAME, write_json
from dirvae.run.live_page import LivePage
from dirvae.run.warm_start import WarmStart, describe_start, load_start, note_start, read_warm_start
from dirvae.seeding import Purpose, derive_seed, seeded
from dirvae.tasks.data import TaskData, open_data
from dirvae.training.checkpoint import CheckpointFolder
from dirvae.training.errors import ConfigError, TrainingWarning
from dirvae.training.objective import Bound, Loss
from dirvae.training.ranks import ONE_RANK, Ranks
from dirvae.training.signals import interruptible
from dirvae.training.trainer import Evaluate, Trainer

__all__ = [
    "Outcome",
    "Shown",
    "build_model",
    "make_loss",
    "num_parameters",
    "refuse_changes",
    "settled",
    "train_run",
]


@dataclass(frozen=True)
class Outcome:
    """Where a run ended: `step` of `total_steps`, and its report; None where that could not be written."""

    step: int
    total_steps: int
    report: Path | None


def build_model(config: RunConfig) -> nn.Module:
    """The fresh model of a config, a function of its settings and seed. Raises `ConfigError` for an odd size."""
    with seeded(derive_seed(config.fit.seed, Purpose.WEIGHTS), torch.device("cpu")):
        return config.task.build_model(config.data, config.model)


def settled(config: RunConfig) -> RunConfig:
    """The config with what the data itself says in place of None. The errors of the data pass through."""
    return replace(config, data=config.task.settle(config.data))


def make_loss(config: RunConfig) -> Bound:
    """The model's own loss of what its type makes of a batch."""
    read = config.task.read_batch
    return Bound(config.fit) if read is None else Bound(config.fit, partial(read, config.data))


def refuse_changes(run: Path, config: RunConfig) -> None:
    """Raise `ConfigError` if a run that has a checkpoint was started with settings that may not change."""
    if (run / TEACHER_NAME).exists():
        raise ConfigError(
            f"{run}: was distilled from another run, which is not resumed. Train on from its weights with --init-from "
            f"{run}, or distil again."
        )
    if not (run / CONFIG_NAME).exists() or not CheckpointFolder(run / "checkpoints").steps():
        return
    if changes := config.changes_since(read_config(run)):
        raise ConfigError(
            f"{run}: the run was started with other settings ({'; '.join(changes)}). Resume without these flags, or "
            "start a new run without --resume."
        )


@dataclass(frozen=True)
class Shown:
    """How a run is shown while it trains: `command` is named in its report, `watch` gets the trainer at the start."""

    command: str | None = None
    watch: Callable[[Trainer], None] | None = None


NOT_SHOWN = Shown()


def train_run(
    config: RunConfig,
    run: Path,
    *,
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    model: nn.Module | None = None,
    loss: Loss | None = None,
    shown: Shown = NOT_SHOWN,
    ranks: Ranks = ONE_RANK,
) -> Outcome:
    """Train, evaluate and report in a run folder. The errors of data, settings and checkpoints pass through.

    The report is written again at every checkpoint; where that fails, a warning says so.
    `model` and `loss` are those of the config by default; a model that is given must be one that the config makes.
    With several `ranks` all call it alike; the first one writes and
    says what there is to say.
    """
    say = print if ranks.is_first else _nothing
    config = settled(config)
    if resume:
        refuse_changes(run, config)
    model = build_model(config) if model is None else model
    loss = make_loss(config) if loss is None else loss
    data = open_data(
        config.task.open_iterator,
        config.data,
        modality=config.type,
        seed=config.fit.seed,
        quarantine=run / "quarantine.jsonl",
        rank=ranks.rank,
        world_size=ranks.world_size,
        accumulate=config.fit.accumulate,
    )
    try:
        evaluate = _make_evaluation(config, data, ranks)
        trainer = Trainer(
            model, data.batches, loss=loss, config=config.fit, evaluate=evaluate, out=run, ranks=ranks
        )
        page = LivePage(run, config, data, command=shown.command)
        ranks.by_first(page.check_label)

        def follow(saved: Trainer) -> None:
            with saved.averaged():
                page.follow(saved, lambda: _summary(saved, config, data, run))

        trainer.on_save = follow
        if shown.watch is not None:
            shown.watch(trainer)
        if resume and trainer.resume():
            say(f"{run}: {_continuing(trainer)}")
        else:
            warm = _prepare(model, config, data, run, say)
            ranks.by_first(partial(note_start, run, warm))
        ranks.by_first(partial(write_config, run, config))
        _describe(trainer, config, data, run, say)
        trainer.fit(should_stop=should_stop)
        _describe_end(trainer, data, run, ranks, say)
        is_urgent = ranks.agree(bool(getattr(should_stop, "is_urgent", False)))
        if ranks.is_first and not is_urgent:
            with trainer.averaged():
                fit_run_prior(model, data, run, step=trainer.step, seed=config.fit.seed)
        if trainer.evaluation is None and not is_urgent:
            trainer.evaluate()
        summary = _summary(trainer, config, data, run)
        report = _finish(trainer, page, summary, is_urgent=is_urgent) if ranks.is_first else None
    finally:
        data.close()
    return Outcome(trainer.step, trainer.total_steps, report)


def _make_evaluation(config: RunConfig, data: TaskData, ranks: Ranks) -> Evaluate | None:
    """The evaluation on what is held out, None if nothing is; only the first rank makes it."""
    if data.held_out is None:
        return None
    with interruptible() if ranks.world_size == 1 else nullcontext():  # it reads data
        return config.task.make_evaluation(data, config.fit.seed) if ranks.is_first else _evaluated_by_the_first


def _finish(trainer: Trainer, page: LivePage, summary: dict[str, Any], *, is_urgent: bool) -> Path | None:
    """Write the summary and the report; the report's path, None where it could not be written."""
    write_json(page.run / "summary.json", summary)
    with trainer.averaged():
        return page.finish(trainer, summary, has_time=not is_urgent)


def _nothing(sentence: str) -> None:
    pass


def _evaluated_by_the_first(model: Any) -> dict[str, Any]:
    raise AssertionError("only the first rank evaluates")


def _continuing(trainer: Trainer) -> str:
    if trainer.stopped_early:
        return f"is at step {trainer.step}, where it stopped early."
    if trainer.step < trainer.total_steps:
        return f"continuing after step {trainer.step}."
    return f"has done all its {trainer.step:,} steps; --resume with more --steps (or --epochs) goes on."


def _early_stop(trainer: Trainer) -> str:
    best = "none before" if trainer.best is None else f"that of step {trainer.best['step']}"
    num = trainer.config.patience
    last = "the last evaluation was" if num == 1 else f"the last {num} evaluations were"
    return (
        f"stopped early and saved after step {trainer.step}: {last} not better than {best}; --resume with a larger "
        "--patience continues."
    )


def _prepare(
    model: nn.Module, config: RunConfig, data: TaskData, run: Path, say: Callable[[str], None]
) -> WarmStart | None:
    """Give a new run its first weights; returns where they came from, None for fresh ones."""
    if config.init_from is None:
        return None
    origin, holds_out = Path(config.init_from), data.held_out is not None
    start, part = load_start(model, origin)
    warm = describe_start(origin, start, data.training.source, holds_out=holds_out)
    say(f"{run}: starting from the weights{'' if part is None else f' of the {part}'} of {start.path}.")
    if (warning := warm.warning(config.task.plural)) is not None:
        warnings.warn(f"{warning}.", TrainingWarning, stacklevel=2)
    return warm


def _describe(trainer: Trainer, config: RunConfig, data: TaskData, run: Path, say: Callable[[str], None]) -> None:
    """Say what the run is about to do."""
    facts = data.facts
    clips = f" ({config.task.count_examples(facts['training_clips'])})" if "training_clips" in facts else ""
    say(
        f"{run}: {config.task.count(facts['training_examples'])}{clips} to train on, {facts['held_out_examples']:,} "
        f"held out; {num_parameters(trainer.model):,} parameters on {trainer.device} in {trainer.precision.name}; "
        f"{trainer.total_steps:,} steps."
    )


def _describe_end(trainer: Trainer, data: TaskData, run: Path, ranks: Ranks, say: Callable[[str], None]) -> None:
    """Say what was replaced in training, and why it ended before its last step; all ranks call it alike."""
    (num,) = ranks.sums([data.batches.stats.substituted])
    if num:
        examples = "1 damaged example was" if num == 1 else f"{num:,} damaged examples were"
        say(f"{examples} replaced; see {run / 'quarantine.jsonl'}.")
    if trainer.stopped_early:
        say(f"{run}: {_early_stop(trainer)}")
    elif trainer.step < trainer.total_steps:
        say(f"{run}: stopped and saved after step {trainer.step}; --resume continues from there.")


def num_parameters(model: nn.Module) -> int:
    """The numbers that a model learns, and those that it keeps fixed."""
    return sum(value.numel() for value in model.parameters())


def _summary(trainer: Trainer, config: RunConfig, data: TaskData, run: Path) -> dict[str, Any]:
    warm = read_warm_start(run, config)
    return {
        "version": 1,
        "run": run.name,
        "type": config.type,
        "step": trainer.step,
        "total_steps": trainer.total_steps,
        "parameters": num_parameters(trainer.model),
        "device": str(trainer.device),
        "precision": trainer.precision.name,
        "skipped_updates": trainer.skipped_updates,
        "substituted_examples": data.batches.state_dict()["substitutions"],
        "data": data.facts,
        "warm_start": None if warm is None else asdict(warm),
        "evaluation": trainer.evaluation,
        "best": trainer.best,
    }
