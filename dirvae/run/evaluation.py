"""The evaluation of a run: every measure of its held-out examples, as JSON values in `evaluation.json`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.evaluate.collapse import usage
from dirvae.evaluate.disentanglement import disentanglement
from dirvae.evaluate.factors import Association, associate, associate_by_chance, categories_of, factors_of, left_out
from dirvae.evaluate.importance import check_width, choose_width, estimate_likelihood
from dirvae.evaluate.neighbours import neighbour_errors
from dirvae.losses import BernoulliLikelihood
from dirvae.run.config import read_config
from dirvae.run.folder import write_json
from dirvae.run.loading import choose_checkpoint, load_model
from dirvae.run.warm_start import WarmStart, read_warm_start
from dirvae.tasks import Task
from dirvae.tasks.run_data import RunData, open_run_data
from dirvae.training.checkpoint import Checkpoint
from dirvae.training.errors import CheckpointError, ConfigError
from dirvae.training.logging import finite_or_none

__all__ = ["EvaluateConfig", "evaluate_run"]

EVALUATION_NAME = "evaluation.json"
EVALUATION_VERSION = 1
NEIGHBOURS = (3, 5, 10)
FEW_EFFECTIVE = 2.0
LARGEST_CHUNK = 1 << 22
"""Values of data decoded at a time; a network needs a few tens of times as much memory."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What to measure, and on how many examples.

    `samples`: importance samples per example. `width`: how wide their proposal is, 1 for the posterior; None for the
    tightest of eight. `limit`: examples used, of the held-out ones and of those trained on each; None: 2,000, or fewer
    large ones, as in `open_run_data`. `label`: the factor
    that nearest neighbours predict. `circular`: factors that make one turn from 0 to 1. `source`: where the data is
    now, if it has moved. `which`: "best", "last" or a step. Raises `ConfigError`.
    """

    samples: int = 100
    width: float | None = None
    limit: int | None = None
    label: str | None = None
    circular: tuple[str, ...] = ()
    source: str | None = None
    which: str | int = "best"
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, count in (("samples", self.samples), ("limit", self.limit)):
            if count is not None and count < 1:
                raise ConfigError(f"{name} is {count}; it must be 1 or more.")
        if self.width is not None:
            try:
                check_width(self.width)
            except ValueError as error:
                raise ConfigError(str(error)) from error
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed is {self.seed}; it must be 0 or more and below 2⁶³.")


def evaluate_run(run: Path, config: EvaluateConfig, *, model: AutoEncoder | None = None) -> dict[str, Any]:
    """Measure the model of a run on the examples it did not train on, write `evaluation.json` and return its content.

    `model` takes the run's weights if its network is not one that a config can name, as in `load_model`. Factors and
    neighbours also use training examples, because no training saw their factors; "notes" are sentences about what
    could not be measured. `StateError` for other data than the run was trained on; the errors of run, checkpoint and
    data pass through, all with one sentence.
    """
    settings = read_config(run)
    checkpoint = choose_checkpoint(run, config.which)
    model = load_model(run, device=config.device, which=checkpoint.step, model=model)
    task = settings.task
    data = open_run_data(
        task,
        settings.data,
        checkpoint,
        divided_by=settings.fit.seed,
        source=config.source,
        limit=config.limit,
        seed=config.seed,
    )
    notes = _notes(data, read_warm_start(run, settings), task)
    fields = _fields(data, config, task)
    means = _latent_means(model, data.tested.data, checkpoint, task)
    likelihood, likelihood_notes = _likelihood(model, data.tested.data, config, task)
    content: dict[str, Any] = {
        "version": EVALUATION_VERSION,
        "type": task.name,
        "step": checkpoint.step,
        "is_held_out": data.held_out is not None,
        "examples": len(data.tested.data),
        "notes": notes + likelihood_notes,
        "likelihood": likelihood,
        "usage": usage(model, means),
        "neighbours": None,
        "factors": None,
        "categories": None,
        "disentanglement": None,
    }
    if fields is not None:
        others = means if data.held_out is None else _latent_means(model, data.trained_on.data, checkpoint, task)
        everything = others if data.held_out is None else torch.cat([others, means])
        found = _factors(everything, fields, config)
        content["notes"] += found.pop("notes")
        content |= found
        if config.label is not None:
            content["neighbours"] = _neighbours(others, means, fields, config.label, task)
    write_json(run / EVALUATION_NAME, content)
    return content


def _notes(data: RunData, warm: WarmStart | None, task: Task) -> list[str]:
    """Sentences about what the data lacks, and what its examples are."""
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


def _fields(data: RunData, config: EvaluateConfig, task: Task) -> list[dict[str, Any]] | None:
    """The JSON objects of all examples, None if one is missing; `ConfigError` if factors were named then."""
    fields = [entry for entry in data.fields() if entry is not None]
    missing = len(data.fields()) - len(fields)
    asked = ("label",) * (config.label is not None) + ("circular",) * bool(config.circular)
    if asked and missing:
        raise ConfigError(
            f"{asked[0]} names a factor, but {_missing(missing, len(data.fields()), task)}. Put one beside every "
            f"{task.modality.noun}, or leave {asked[0]} out."
        )
    if config.label is not None:
        if data.held_out is None:
            raise ConfigError(
                f"label is {config.label!r}, but the run held no {task.plural} out to find the neighbours of. Leave "
                "label out."
            )
        if len(data.trained_on.data) < min(NEIGHBOURS):
            raise ConfigError(
                f"label is {config.label!r}, but {len(data.trained_on.data)} training {task.examples} are fewer than "
                f"{min(NEIGHBOURS)} neighbours. Raise limit, or leave label out."
            )
    return None if missing else fields


def _missing(count: int, total: int, task: Task) -> str:
    return f"{count:,} of {total:,} {task.examples} {'has' if count == 1 else 'have'} no JSON object"


@torch.inference_mode()
def _latent_means(model: AutoEncoder, x: Tensor, checkpoint: Checkpoint, task: Task) -> Tensor:
    device = next(model.parameters()).device
    means = torch.cat([model.encode(part.to(device)).mean.cpu() for part in torch.split(x, _rows(x))])
    if not means.isfinite().all():
        raise CheckpointError(
            f"{checkpoint.path}: its model encodes {task.examples} as numbers that are not finite. Choose another "
            "checkpoint with --which, or train again."
        )
    return means


def _rows(x: Tensor) -> int:
    return max(1, min(500, LARGEST_CHUNK // x[0].numel()))


def _likelihood(
    model: AutoEncoder, x: Tensor, config: EvaluateConfig, task: Task
) -> tuple[dict[str, Any] | None, list[str]]:
    """The numbers of the likelihood, and notes about them; of coins over greys the cross entropy, not a likelihood."""
    if not model.likelihood.is_density:
        return None, []
    x, rows = x.to(next(model.parameters()).device), _rows(x)
    are_greys = isinstance(model.likelihood, BernoulliLikelihood) and not ((x == 0) | (x == 1)).all()
    width = 1.0 if are_greys else config.width
    if width is None:
        width = choose_width(model, x, samples=config.samples, rows=rows, seed=config.seed)
    estimate = estimate_likelihood(model, x, samples=config.samples, rows=rows, seed=config.seed, width=width)
    means = finite_or_none(estimate.means())
    notes = ["numbers of the likelihood that are not finite are left out"] if None in means.values() else []
    counts = {"samples": config.samples, "values": x[0].numel()}
    if are_greys:
        notes.append(
            f"the {task.examples} hold other values than zeros and ones: bernoulli gives a cross entropy of greys, "
            "which is not a likelihood"
        )
        return {"cross_entropy_of_greys": means["reconstruction"], "kl": means["kl"], **counts}, notes
    effective = means["effective_samples"]
    if effective is not None and effective < min(FEW_EFFECTIVE, config.samples / 4):
        notes.append(
            f"of {config.samples:,} draws hardly more than one counts (see effective samples), so the NLL is an upper "
            "bound that may be many nats too high; more samples lower it"
        )
    return {**means, "proposal_width": width, **counts}, notes


def _factors(latents: Tensor, fields: list[dict[str, Any]], config: EvaluateConfig) -> dict[str, Any]:
    """The associations of each factor, of each category and of all factors, and beside them those of shuffled ones."""
    if latents.shape[1] < 2:
        return {"notes": ["no factors: they need a latent of 2 components or more, and this one has 1"]}
    try:
        factors = factors_of(fields, circular=config.circular)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    categories = categories_of(fields)
    found = associate(latents, [*factors, *categories], seed=config.seed)
    chance = associate_by_chance(latents, [*factors, *categories], seed=config.seed)
    rows = [
        {**association.to_json(), "chance": _means([_numbers(shuffle[index]) for shuffle in chance])}
        for index, association in enumerate(found)
    ]
    count, summed = len(factors), None
    if count > 1:
        by_chance = _means([disentanglement(shuffle[:count]).to_json() for shuffle in chance])
        summed = {**disentanglement(found[:count]).to_json(), "chance": by_chance}
    return {
        "notes": left_out(fields),
        "factors": rows[:count],
        "categories": rows[count:],
        "disentanglement": summed,
    }


def _numbers(association: Association) -> dict[str, float]:
    row = association.to_json()
    return {name: row[name] for name in ("share", "gap", "linear_r2")}


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}


def _neighbours(
    train: Tensor, test: Tensor, fields: Sequence[dict[str, Any]], label: str, task: Task
) -> dict[str, Any]:
    if all(label not in entry for entry in fields):
        known = ", ".join(fields[0])
        raise ConfigError(f"no factor is called {label!r}; the examples have {known or 'none'}.")
    if lacking := sum(label not in entry for entry in fields):
        verb = "has" if lacking == 1 else "have"
        raise ConfigError(
            f"{lacking:,} of {len(fields):,} {task.examples} {verb} no {label!r} in the JSON object. Add it to each, "
            "or leave label out."
        )
    names = [str(entry[label]) for entry in fields]
    kinds = {name: number for number, name in enumerate(sorted(set(names)))}
    labels = torch.tensor([kinds[name] for name in names])
    counts = [count for count in NEIGHBOURS if count <= len(train)]
    errors = neighbour_errors(train, labels[: len(train)], test, labels[len(train) :], counts=counts)
    return {"label": label, "classes": len(kinds), "errors": {str(count): error for count, error in errors.items()}}
