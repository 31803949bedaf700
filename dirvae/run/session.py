"""One run of `python -m dirvae.train`, from settings to report, without the command line around it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.evaluate.held_out import HeldOut, mean_image
from dirvae.explore.report import ReportContent, write_report
from dirvae.networks import ResNetVAE
from dirvae.run.folder import write_config, write_json
from dirvae.run.warm_start import begin_with, forget_warm_start, read_warm_start
from dirvae.seeding import Stream, seeded, stream_seed
from dirvae.tasks.data import TrainingData, open_training_data
from dirvae.training.config import TrainConfig
from dirvae.training.errors import ConfigError, TrainingWarning
from dirvae.training.feed import to_device
from dirvae.training.precision import choose_device
from dirvae.training.trainer import Trainer

__all__ = ["Outcome", "build_model", "train_run"]

NUM_THUMBNAILS = 12
NUM_LOOKED_AT = 256


@dataclass(frozen=True)
class Outcome:
    """Where a run ended: `step` of `total_steps`, and its report."""

    step: int
    total_steps: int
    report: Path


def build_model(config: TrainConfig) -> AutoEncoder:
    """The fresh model of a config, a function of its settings and seed. Raises `ConfigError` for an odd size."""
    with seeded(stream_seed(config.seed, Stream.WEIGHTS), torch.device("cpu")):
        try:
            return ResNetVAE(
                size=config.size,
                model_size=config.model_size,
                grid=config.grid,
                preset=config.preset,
                latent=config.latent,
                prior=config.prior,
                likelihood=config.likelihood,
                fixed_scale=config.fixed_scale,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from error


def train_run(
    config: TrainConfig,
    run: Path,
    *,
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = print,
) -> Outcome:
    """Train, evaluate and report in a run folder. The errors of data, settings and checkpoints pass through."""
    model = build_model(config)
    data = open_training_data(config, quarantine=run / "quarantine.jsonl")
    try:
        trainer = Trainer(model, data.batches, config=config, evaluate=_evaluation(config, data), out=run)
        if resume and trainer.resume():
            tell(f"{run}: going on after step {trainer.step}.")
        else:
            _begin(model, config, data, run, tell)
        write_config(run, config)
        tell(_opening(trainer, data, run))
        if config.kl_warmup > trainer.total_steps:
            tell(
                f"the weight of the KL term rises over {config.kl_warmup:,} steps and this run has "
                f"{trainer.total_steps:,}: it will not train its bound. --kl-warmup 0 does from the start."
            )
        trainer.fit(should_stop=should_stop)
        if substituted := data.batches.stats.substituted:
            tell(f"examples that were replaced, being damaged: {substituted}; see {run / 'quarantine.jsonl'}.")
        if trainer.step < trainer.total_steps:
            tell(f"{run}: stopped and saved after step {trainer.step}; --resume goes on from there.")
        if trainer.evaluation is None:
            trainer.evaluate()
        summary = _summary(trainer, config, data, run)
        write_json(run / "summary.json", summary)
        report = write_report(run, model, _content(config, data, summary), seed=config.seed)
    finally:
        data.close()
    return Outcome(trainer.step, trainer.total_steps, report)


def _begin(
    model: AutoEncoder, config: TrainConfig, data: TrainingData, run: Path, tell: Callable[[str], None]
) -> None:
    """Give a fresh run the weights it begins with, and have its folder say where they came from."""
    forget_warm_start(run)
    if config.init_from is None:
        return
    holds_out = data.held_out is not None
    warm, start = begin_with(model, Path(config.init_from), run, data.training.source, holds_out=holds_out)
    tell(f"{run}: starting from the weights of {start.path}.")
    if warm.warning is not None:
        warnings.warn(f"{warm.warning}.", TrainingWarning, stacklevel=2)


def _evaluation(config: TrainConfig, data: TrainingData) -> HeldOut | None:
    if data.held_out is None:
        return None
    return HeldOut(data.held_out, mean=mean_image(data.training), seed=config.seed)


def _opening(trainer: Trainer, data: TrainingData, run: Path) -> str:
    parameters = sum(value.numel() for value in trainer.model.parameters())
    facts = data.facts
    return (
        f"{run}: {facts['training_examples']:,} images to train on, {facts['held_out_examples']:,} held out; "
        f"{parameters:,} parameters on {trainer.device} in {trainer.precision.name}; {trainer.total_steps:,} steps."
    )


def _summary(trainer: Trainer, config: TrainConfig, data: TrainingData, run: Path) -> dict[str, Any]:
    warm = read_warm_start(run, config)
    return {
        "version": 1,
        "run": run.name,
        "step": trainer.step,
        "total_steps": trainer.total_steps,
        "parameters": sum(value.numel() for value in trainer.model.parameters()),
        "device": str(trainer.device),
        "precision": trainer.precision.name,
        "skipped_updates": trainer.skipped_updates,
        "substituted_examples": data.batches.state_dict()["substitutions"],
        "data": data.facts,
        "warm_start": None if warm is None else asdict(warm),
        "evaluation": trainer.evaluation,
        "best": trainer.best,
    }


def _content(config: TrainConfig, data: TrainingData, summary: dict[str, Any]) -> ReportContent:
    return ReportContent(
        training=_first(data.training, NUM_THUMBNAILS),
        held_out=None if data.held_out is None else _first(data.held_out, NUM_LOOKED_AT),
        data=data.facts,
        config=config.to_json(),
        summary=summary,
    )


def _first(batches: Iterable[Any], num: int) -> Tensor:
    """The first examples of batches, on the CPU: (num or fewer, channel, height, width) float32 in [0, 1]."""
    parts: list[Tensor] = []
    for batch in islice(batches, num):
        parts.append(to_device(batch.data, choose_device("cpu")))
        if sum(map(len, parts)) >= num:
            break
    return torch.cat(parts)[:num]
