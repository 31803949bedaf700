"""The evaluation of a run: every measure of its held-out examples, as JSON values in `evaluation.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.evaluate.collapse import usage
from dirvae.evaluate.labels import Label
from dirvae.evaluate.levels import LevelSums
from dirvae.levels import LevelledAutoEncoder, LevelOutput, has_map
from dirvae.metrics import latent_usage
from dirvae.run.config import RunConfig, read_config
from dirvae.run.evaluate_config import EvaluateConfig, evaluation_name
from dirvae.run.factor_measures import measure_factors
from dirvae.run.folder import write_json
from dirvae.run.label_measures import NEIGHBOURS, choose_label, label_notes, measure_neighbours
from dirvae.run.likelihood import chunk_rows, measure_likelihood
from dirvae.run.loading import choose_checkpoint, load_model
from dirvae.run.python_run import is_from_python, other_data
from dirvae.run.warm_start import WarmStart, read_warm_start
from dirvae.seeding import Purpose, derive_seed, seeded
from dirvae.tasks import Task
from dirvae.tasks.run_data import Examples, RunData, open_run_data
from dirvae.training.checkpoint import Checkpoint
from dirvae.training.errors import CheckpointError, ConfigError
from dirvae.training.logging import finite_or_none
from pipelines.errors import StateError
from pipelines.shown_names import shown_name

__all__ = ["EvaluateConfig", "evaluate_run"]

EVALUATION_VERSION = 1


def evaluate_run(run: Path, config: EvaluateConfig, *, model: AutoEncoder | None = None) -> dict[str, Any]:
    """Measure the model of a run on the examples it did not train on, write `evaluation.json` and return its content.

    The weights that were trained, of a run that has averaged ones, are measured into `evaluation-raw.json`.
    `model` takes the run's weights if its network is not one that a config can name, as in `load_model`. Factors and
    neighbours also use training examples, because no training saw their factors; "notes" are sentences about what
    could not be measured. `StateError` for other data than the run was trained on; the errors of run, checkpoint and
    data pass through, all with one sentence.
    """
    settings = read_config(run)
    checkpoint = choose_checkpoint(run, config.which)
    model = load_model(run, device=config.device, which=checkpoint.step, weights=config.weights, model=model)
    has_ema = checkpoint.has_average
    has_latent = getattr(model, "latent", None) is not None
    task = settings.task
    if not has_latent and (config.label or config.circular):
        what = "label names a factor or a category" if config.label else "circular names a factor"
        raise ConfigError(f"{what}, but the model has no latent.")
    data = _open_data(run, settings, checkpoint, config)
    notes = _notes(data, read_warm_start(run, settings), task)
    if not has_latent:
        notes.append("no usage, no factors and no neighbours: the model has no latent")
    label = _checked_label(data, config, task) if has_latent else None
    if label is not None:
        notes += label_notes(label, task)
    means = _latents(model, data.tested, checkpoint, task) if has_latent else torch.zeros(0)
    likelihood, likelihood_notes = measure_likelihood(
        model, data.tested.data, task, samples=config.samples, width=config.width, seed=config.seed
    )
    content: dict[str, Any] = {
        "version": EVALUATION_VERSION,
        "type": task.name,
        "step": checkpoint.step,
        "weights": "ema" if has_ema and config.weights != "raw" else "raw",
        "has_ema": has_ema,
        "is_held_out": data.held_out is not None,
        "examples": len(data.tested.data),
        "notes": notes + likelihood_notes,
        "likelihood": likelihood,
        "usage": usage(model, means) if has_latent else None,
        "levels": _levels(model, data.tested.data, config.seed) if has_map(model) else None,
        "neighbours": None,
        "factors": None,
        "categories": None,
        "disentanglement": None,
    }
    if task.measure is not None:
        content |= _finite(task.measure(model, data.batches, settings.data, config.seed))
    fields = [entry for entry in data.fields() if entry is not None]
    is_complete = len(fields) == len(data.fields())
    if has_latent and (is_complete or label is not None):
        others = means if data.held_out is None else _latents(model, data.trained_on, checkpoint, task)
        everything = others if data.held_out is None else torch.cat([others, means])
        found = measure_factors(everything, fields if is_complete else None, label, config)
        content["notes"] += found.pop("notes")
        content |= found
        if label is not None:
            content["neighbours"] = measure_neighbours(others, means, label)
    write_json(run / evaluation_name(content), content)
    return content


def _open_data(run: Path, settings: RunConfig, checkpoint: Checkpoint, config: EvaluateConfig) -> RunData:
    """The examples of a run that are measured. `StateError` for other data, with a remedy for a run made in Python."""
    try:
        return open_run_data(
            settings.task,
            settings.data,
            checkpoint,
            divided_by=settings.fit.seed,
            source=config.source,
            limit=config.limit,
            seed=config.seed,
        )
    except StateError as error:
        if not is_from_python(run):
            raise
        remedy = "Name the data with --source, or measure in Python with estimate_likelihood."
        raise StateError(f"{other_data(run, settings.data)} {remedy}") from error


@torch.inference_mode()
def _levels(model: LevelledAutoEncoder, x: Tensor, seed: int) -> dict[str, Any]:
    """What each level carries, as JSON values: the numbers of `LevelSums`, and how much of the map is used."""
    device = next(model.parameters()).device
    sums, maps = LevelSums(device), []
    for index, part in enumerate(torch.split(x, chunk_rows(x))):
        part = part.to(device)
        with seeded(derive_seed(seed, Purpose.EVALUATION, index), device):
            out = model(part)
        assert isinstance(out, LevelOutput)
        sums.add(model, part, out)
        maps.append(out.map_posterior.mean.cpu())
    found: dict[str, Any] = finite_or_none({**sums.means(), "map": latent_usage(torch.cat(maps))})
    return found


def _notes(data: RunData, warm: WarmStart | None, task: Task) -> list[str]:
    """Sentences about the examples: what they are, and what they lack."""
    notes = []
    if task.example is not None:
        notes.append(
            f"{task.examples} of one {task.modality.noun} are alike, so means over {task.examples} are less certain "
            "than their standard error says"
        )
    if warm is not None and (warning := warm.warning(task.plural)) is not None:
        notes.append(warning)
    if data.appended:
        notes.append(
            f"{data.appended:,} examples were appended since the checkpoint was written; they are left out"
        )
    fields = data.fields()
    missing = sum(entry is None for entry in fields)
    if 0 < missing < len(fields):
        notes.append(f"no factors: {_missing(missing, len(fields), task)}")
    return notes


def _checked_label(data: RunData, config: EvaluateConfig, task: Task) -> Label | None:
    """The label that the settings name. `ConfigError` if it, or a circular factor, cannot be measured."""
    fields = data.fields()
    missing = sum(entry is None for entry in fields)
    if config.circular and missing:
        raise ConfigError(
            f"circular names a factor, but {_missing(missing, len(fields), task)}. Put one beside every "
            f"{task.modality.noun}, or leave circular out."
        )
    if config.label is None:
        return None
    if data.held_out is None:
        raise ConfigError(
            f"label is {shown_name(config.label)}, but the run held no {task.plural} out to find the neighbours of. "
            "Leave label out."
        )
    num_train = len(data.trained_on.data)
    if num_train < min(NEIGHBOURS):
        raise ConfigError(
            f"label is {shown_name(config.label)}, but {num_train} training {task.examples} are fewer than "
            f"{min(NEIGHBOURS)} neighbours. Raise limit, or leave label out."
        )
    if missing == len(fields):
        raise ConfigError(
            f"label is {shown_name(config.label)}, but {_missing(missing, len(fields), task)}. Leave label out."
        )
    return choose_label(config.label, fields, data.categories(), task, num_train=num_train)


def _missing(count: int, total: int, task: Task) -> str:
    return f"{count:,} of {total:,} {task.examples} {'has' if count == 1 else 'have'} no JSON object"


@torch.inference_mode()
def _latents(model: AutoEncoder, examples: Examples, checkpoint: Checkpoint, task: Task) -> Tensor:
    """The latents of the examples: the means of their posteriors, or what the task encodes them as."""
    device = next(model.parameters()).device
    encode = task.encode or _posterior_means
    rows = chunk_rows(examples.data)
    parts = torch.split(examples.data, rows)
    lengths = [None] * len(parts) if examples.lengths is None else torch.split(examples.lengths, rows)
    means = torch.cat([encode(model, part.to(device), some) for part, some in zip(parts, lengths, strict=True)])
    if not means.isfinite().all():
        raise CheckpointError(
            f"{checkpoint.path}: its model encodes {task.examples} as numbers that are not finite. Choose another "
            "checkpoint with --which, or train again."
        )
    return means


def _posterior_means(model: AutoEncoder, x: Tensor, lengths: Tensor | None) -> Tensor:
    return model.encode(x).mean.cpu()


def _finite(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: finite_or_none(part) for name, part in parts.items()}
