"""The label of an evaluation: what its name means, and how well nearest neighbours predict it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from dirvae.evaluate.labels import Label, find_label
from dirvae.evaluate.neighbours import neighbour_errors, neighbour_precisions
from dirvae.tasks import Task
from dirvae.training.errors import ConfigError
from pipelines.shown_names import shown_name

__all__ = ["NEIGHBOURS", "choose_label", "label_notes", "measure_neighbours"]

NEIGHBOURS = (3, 5, 10)


def choose_label(
    name: str,
    fields: Sequence[dict[str, Any] | None],
    categories: Sequence[Collection[str] | None],
    task: Task,
    *,
    num_train: int,
) -> Label:
    """The factor or category with this name; the first `num_train` examples are the training ones.

    `ConfigError` if neither has the name, or if too few examples have a value.
    """
    try:
        label = find_label(name, fields, categories)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    train, test = (sum(value is not None for value in part) for part in _parts(label.values, num_train))
    if train < min(NEIGHBOURS) or test < 1:
        raise ConfigError(
            f"label is the {label.kind} {shown_name(label.name)}, but {train:,} training and {test:,} held-out "
            f"{task.examples} {'are annotated' if label.is_category else 'have a value'}; neighbours need "
            f"{min(NEIGHBOURS)} and 1. Raise limit, or leave label out."
        )
    return label


def label_notes(label: Label, task: Task) -> list[str]:
    """Sentences about what a label means, and the examples without a value."""
    notes, name = [], shown_name(label.name)
    if label.is_both:
        notes.append(f"{name} is the factor, not the category of the annotations, which has the same name")
    if missing := label.values.count(None):
        what = "not annotated" if label.is_category else "without a value"
        notes.append(
            f"label {name} is looked at without the {missing:,} of {len(label.values):,} {task.examples} that "
            f"{'is' if missing == 1 else 'are'} {what}"
        )
    if len(set(map(str, label.known))) == 1:
        value = label.known[0]
        same = str(value).lower() if isinstance(value, bool) else shown_name(str(value), quoted=False)
        notes.append(f"label {name} is the same in all examples: {same}")
    return notes


def measure_neighbours(train: Tensor, test: Tensor, label: Label) -> dict[str, Any]:
    """How often the k nearest training latents predict a wrong label for a held-out one, for several k.

    Also the error of always predicting the most frequent value. For truth values also the average precision of ranking
    the true examples first, and their share, which is about its value by chance.
    """
    values = _parts(label.values, len(train))
    (train, test), (known, asked) = (
        [part[[value is not None for value in some]] for part, some in zip((train, test), values, strict=True)],
        [[value for value in some if value is not None] for some in values],
    )
    names = sorted({str(value) for value in label.known})
    places = {name: number for number, name in enumerate(names)}
    train_labels, test_labels = (torch.tensor([places[str(value)] for value in some]) for some in (known, asked))
    counts = [count for count in NEIGHBOURS if count <= len(train)]
    errors = neighbour_errors(train, train_labels, test, test_labels, counts=counts)
    most_frequent = int(train_labels.bincount().argmax())
    found: dict[str, Any] = {
        "label": label.name,
        "is_category": label.is_category,
        "classes": len(names),
        "examples": len(test),
        "errors": _by_text(errors),
        "majority_error": float((test_labels != most_frequent).double().mean()),
        "average_precision": None,
        "share": None,
    }
    if label.is_yes_or_no:
        is_kind = torch.tensor(asked)
        found["share"] = float(is_kind.double().mean())
        if is_kind.any():
            precisions = neighbour_precisions(train, torch.tensor(known), test, is_kind, counts=counts)
            found["average_precision"] = _by_text(precisions)
    return found


def _parts(values: list[Any], num_train: int) -> tuple[list[Any], list[Any]]:
    return values[:num_train], values[num_train:]


def _by_text(numbers: dict[int, float]) -> dict[str, float]:
    return {str(count): number for count, number in numbers.items()}
