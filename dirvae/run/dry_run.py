"""`--dry-run`: make everything that a run needs, try it on one batch, say what a run would do; write nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from dirvae.run.config import RunConfig
from dirvae.run.live_page import LivePage
from dirvae.run.session import build_model, make_loss, num_parameters, refuse_changes, settled
from dirvae.run.warm_start import load_start
from dirvae.tasks.data import TaskData, open_data
from dirvae.training.trainer import Trainer

__all__ = ["dry_run"]


def dry_run(config: RunConfig, run: Path, *, resume: bool = False, say: Callable[[str], None] = print) -> None:
    """Check data, settings and model, and go one batch forward and backward without an update.

    Says what a training in the folder `run` would do. The errors are those of training.
    """
    config = settled(config)
    if resume:
        refuse_changes(run, config)
    model = build_model(config)
    fit, task = config.fit, config.task
    data = open_data(
        task.open_iterator, config.data, modality=config.type, seed=fit.seed, accumulate=fit.accumulate
    )
    try:
        evaluate = None if data.held_out is None else config.task.make_evaluation(data, config.fit.seed)
        loss = make_loss(config)
        trainer = Trainer(model, data.batches, loss=loss, config=config.fit, evaluate=evaluate, out=run)
        if config.init_from is not None:
            load_start(model, Path(config.init_from))
        LivePage(run, config, data).check_label()
        terms = trainer.rehearse(resume=resume)
    finally:
        data.close()
    for line in _lines(trainer, model, config, data, run, terms, loss.caution(trainer.total_steps)):
        say(line)


def _lines(
    trainer: Trainer,
    model: nn.Module,
    config: RunConfig,
    data: TaskData,
    run: Path,
    terms: Mapping[str, float],
    caution: str | None,
) -> list[str]:
    task, facts = config.task, data.facts
    num_examples = facts.get("training_clips", facts["training_examples"])
    per_epoch = math.ceil(num_examples / config.data.batch_size)
    epochs = trainer.total_steps / per_epoch if per_epoch else math.nan
    clips = f" ({task.count_examples(num_examples)})" if "training_clips" in facts else ""
    place = "a new run" if trainer.step == 0 else f"continues after step {trainer.step:,}"
    lines = [
        ("data", f"{facts['source']}: {task.count(facts['training_examples'])}{clips} to train on, "
                 f"{facts['held_out_examples']:,} held out"),
        ("steps", f"{trainer.total_steps:,} of {config.data.batch_size} {task.examples}; {per_epoch:,} per epoch, "
                  f"{epochs:,.1f} epochs"),
        ("model", f"{type(model).__name__}, {num_parameters(model):,} parameters"),
        ("device", f"{trainer.device} in {trainer.precision.name}"),
        ("first batch", ", ".join(f"{name} {value:,.5g}" for name, value in terms.items())),
        ("run", f"{run}, {place}"),
    ]  # fmt: skip
    warnings = [caution, _left_warning(trainer), _finite_warning(terms)]
    said = [f"{name:<13}{value}" for name, value in lines]
    return [*said, *(f"warning: {text}" for text in warnings if text is not None), "dry run: nothing was written."]


def _left_warning(trainer: Trainer) -> str | None:
    if trainer.step < trainer.total_steps:
        return None
    return f"the run has done all its {trainer.total_steps:,} steps. Raise --steps to train on."


def _finite_warning(terms: Mapping[str, Any]) -> str | None:
    if all(math.isfinite(value) for value in terms.values()):
        return None
    return "the first batch gives a loss that is not finite; such updates are skipped."
