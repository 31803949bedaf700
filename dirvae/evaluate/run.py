"""Evaluating a run: its held-out images through every measure, and the numbers as JSON values."""

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
from dirvae.evaluate.factors import Association, associate, associate_by_chance, categories_of, factors_of
from dirvae.evaluate.importance import estimate_likelihood
from dirvae.evaluate.neighbours import neighbour_errors
from dirvae.training.config import TrainConfig
from dirvae.training.errors import ConfigError
from dirvae.training.feed import to_device
from dirvae.training.loading import choose_checkpoint, load_model
from dirvae.training.run_folder import read_config, write_json
from pipelines import ImageIterator, hold_out, open_source

__all__ = ["EvaluateConfig", "evaluate_run"]

EVALUATION_NAME = "evaluation.json"
EVALUATION_VERSION = 1
NEIGHBOURS = (3, 5, 10)
LARGEST_CHUNK = 1 << 22
"""Values of data decoded at a time; a network needs some tens of times as much memory."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What to measure, and on how much.

    `samples`: importance samples an example. `limit`: examples looked at, of the held-out ones and of those trained
    on each. `label`: the factor that nearest neighbours have to tell. `circular`: factors that go round from 0 to 1.
    `source`: where the data lies now, if not where it lay. `which`: "best", "last" or a step. Raises `ConfigError`.
    """

    samples: int = 100
    limit: int = 2000
    label: str | None = None
    circular: tuple[str, ...] = ()
    source: str | None = None
    which: str | int = "best"
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("samples", "limit"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 1 or more.")


@dataclass(frozen=True, eq=False)
class Examples:
    """Images (num, channel, height, width) in [0, 1] on the CPU, and the JSON beside each, None where there is none."""

    data: Tensor
    fields: list[dict[str, Any]] | None


def evaluate_run(run: Path, config: EvaluateConfig, *, model: AutoEncoder | None = None) -> dict[str, Any]:
    """Measure the model of a run on the images it did not train on, write `evaluation.json` and return it.

    `model` takes the run's weights where its network is not one that a config can name, as in `load_model`. Factors
    and neighbours also use training images, whose factors no training saw. The errors of run, checkpoint and data
    pass through, all with one sentence.
    """
    settings = read_config(run)
    checkpoint = choose_checkpoint(run, config.which)
    model = load_model(run, device=config.device, which=checkpoint.step, model=model)
    trained_on, held_out = _open(settings, config)
    tested = trained_on if held_out is None else held_out
    means = _latent_means(model, tested.data)
    content: dict[str, Any] = {
        "version": EVALUATION_VERSION,
        "step": checkpoint.step,
        "is_held_out": held_out is not None,
        "examples": len(tested.data),
        "likelihood": _likelihood(model, tested.data, config),
        "usage": usage(model, means),
        "neighbours": None,
        "factors": None,
        "categories": None,
        "disentanglement": None,
    }
    if tested.fields is not None and trained_on.fields is not None:
        fields = trained_on.fields if held_out is None else [*trained_on.fields, *tested.fields]
        others = _latent_means(model, trained_on.data)
        everything = others if held_out is None else torch.cat([others, means])
        content |= _factors(everything, fields, config)
        if config.label is not None and held_out is not None:
            content["neighbours"] = _neighbours(others, trained_on.fields, means, tested.fields, config.label)
    write_json(run / EVALUATION_NAME, content)
    return content


def _open(settings: TrainConfig, config: EvaluateConfig) -> tuple[Examples, Examples | None]:
    source = open_source(config.source if config.source is not None else settings.source)
    if settings.held_out is None:
        return _examples(source, settings, config), None
    trained_on, held_out = hold_out(source, settings.held_out, seed=settings.seed)
    return _examples(trained_on, settings, config), _examples(held_out, settings, config)


def _examples(source: Any, settings: TrainConfig, config: EvaluateConfig) -> Examples:
    """The first examples of a source in a fixed order."""
    looks: dict[str, Any] = {
        "size": settings.size,
        "batch_size": settings.batch_size,
        "on_error": settings.on_error,
    }
    names = ("json",) if "json" in source[0].fields else ()
    iterator = ImageIterator(source, shuffle=True, seed=config.seed, fields=names, tail="keep", **looks)
    data: list[Tensor] = []
    fields: list[Any] = []
    try:
        for batch in iterator:
            data.append(to_device(batch.data, torch.device("cpu")))
            fields += batch.fields["json"] if names else [None] * len(batch.data)
            if len(fields) >= config.limit:
                break
    finally:
        iterator.close()
    fields = fields[: config.limit]
    has_all = all(isinstance(entry, dict) for entry in fields)
    return Examples(torch.cat(data)[: config.limit], fields if has_all else None)


@torch.inference_mode()
def _latent_means(model: AutoEncoder, x: Tensor) -> Tensor:
    device = next(model.parameters()).device
    return torch.cat([model.encode(part.to(device)).mean.cpu() for part in torch.split(x, _rows(x))])


def _rows(x: Tensor) -> int:
    return max(1, min(500, LARGEST_CHUNK // x[0].numel()))


def _likelihood(model: AutoEncoder, x: Tensor, config: EvaluateConfig) -> dict[str, Any] | None:
    if not model.likelihood.is_density:
        return None
    device = next(model.parameters()).device
    estimate = estimate_likelihood(model, x.to(device), samples=config.samples, rows=_rows(x), seed=config.seed)
    return {**estimate.means(), "samples": config.samples, "values": x[0].numel()}


def _factors(latents: Tensor, fields: list[dict[str, Any]], config: EvaluateConfig) -> dict[str, Any]:
    """Each factor's association, each category's, and all factors' together; beside them what shuffled ones give."""
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
    return {"factors": rows[:count], "categories": rows[count:], "disentanglement": summed}


def _numbers(association: Association) -> dict[str, float]:
    row = association.to_json()
    return {name: row[name] for name in ("share", "gap", "linear_r2")}


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}


def _neighbours(
    train: Tensor,
    train_fields: Sequence[dict[str, Any]],
    test: Tensor,
    test_fields: Sequence[dict[str, Any]],
    label: str,
) -> dict[str, Any]:
    names = [str(entry.get(label)) for entry in (*train_fields, *test_fields)]
    if all(label not in entry for entry in (*train_fields, *test_fields)):
        known = ", ".join(train_fields[0])
        raise ConfigError(f"no factor is called {label!r}; the examples have {known or 'none'}.")
    kinds = {name: number for number, name in enumerate(sorted(set(names)))}
    labels = torch.tensor([kinds[name] for name in names])
    counts = [count for count in NEIGHBOURS if count <= len(train)]
    errors = neighbour_errors(train, labels[: len(train)], test, labels[len(train) :], counts=counts)
    return {"label": label, "classes": len(kinds), "errors": {str(count): error for count, error in errors.items()}}
