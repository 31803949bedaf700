"""What the components of a latent say about the factors of its examples, as JSON values of an evaluation."""

from __future__ import annotations

import statistics
from typing import Any

from torch import Tensor

from dirvae.evaluate.disentanglement import disentanglement
from dirvae.evaluate.factor_columns import categories_of, factors_of, left_out
from dirvae.evaluate.factors import Association, Factor, associate, associate_by_chance, make_factor
from dirvae.evaluate.labels import Label
from dirvae.run.evaluate_config import EvaluateConfig
from dirvae.training.errors import ConfigError

__all__ = ["measure_factors"]


def measure_factors(
    latents: Tensor, fields: list[dict[str, Any]] | None, label: Label | None, config: EvaluateConfig
) -> dict[str, Any]:
    """Associations of each factor, each category and all factors, each beside those of shuffled factors.

    A label that is not one of the factors has a row among the categories, over the examples that have a value.
    `fields`: the JSON objects of all examples; None if any example has none, then only the label is measured. "notes"
    are sentences about what could not be measured.
    """
    if latents.shape[1] < 2:
        return {"notes": ["no factors: they need a latent of 2 components or more, and this one has 1"]}
    if fields is None:
        rows = [] if label is None else _label_rows(latents, label, config.seed)
        return {"notes": [], "categories": rows}
    try:
        factors = factors_of(fields, circular=config.circular)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    categories = categories_of(fields)
    found, chance = _associated(latents, [*factors, *categories], config.seed)
    rows = [_row(association, chance, index) for index, association in enumerate(found)]
    count, summed = len(factors), None
    if count > 1:
        by_chance = _means([disentanglement(shuffle[:count]).to_json() for shuffle in chance])
        summed = {**disentanglement(found[:count]).to_json(), "chance": by_chance}
    if label is not None and (label.is_category or None in label.values):
        rows += _label_rows(latents, label, config.seed)
    return {
        "notes": left_out(fields, label=None if label is None or label.is_category else label.name),
        "factors": rows[:count],
        "categories": rows[count:],
        "disentanglement": summed,
    }


def _label_rows(latents: Tensor, label: Label, seed: int) -> list[dict[str, Any]]:
    """The row of a label over the examples that have a value; empty if all have the same one."""
    has_value = [value is not None for value in label.values]
    try:
        factor = make_factor(label.name, label.known)
    except ValueError:
        return []
    found, chance = _associated(latents[has_value], [factor], seed)
    return [_row(found[0], chance, 0)]


def _associated(
    latents: Tensor, factors: list[Factor], seed: int
) -> tuple[list[Association], list[list[Association]]]:
    return associate(latents, factors, seed=seed), associate_by_chance(latents, factors, seed=seed)


def _row(association: Association, chance: list[list[Association]], index: int) -> dict[str, Any]:
    return {**association.to_json(), "chance": _means([_numbers(shuffle[index]) for shuffle in chance])}


def _numbers(association: Association) -> dict[str, float]:
    row = association.to_json()
    return {name: row[name] for name in ("share", "gap", "linear_r2")}


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}
