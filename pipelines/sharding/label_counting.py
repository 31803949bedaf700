"""The table of labels of a set, from what was known before, what annotations define and what was found in packing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..storage.label_table import Label, LabelTable
from .findings import LabelCounts

__all__ = ["class_labels", "joined_labels"]

MOST_CLASSES = 1 << 20
"""A class beyond is not one: a table holds every class up to the largest."""


def joined_labels(known: LabelTable | None, defined: Iterable[Label], found: LabelCounts) -> LabelTable | None:
    """The labels of a set: those `known` from before and newly `defined` ones, and how many of each were `found`.

    What was found without having been defined, in files that lie beside pictures, is defined by that: its first name
    counts. Classes that nothing names are called by their number. None where there are no labels at all.
    """
    labels = {label.number: label for label in known or ()}
    for label in defined:
        if label.number not in labels:
            has_counts = label.annotations or label.images
            labels[label.number] = replace(label, annotations=0, images=0) if has_counts else label
    counts: dict[int, tuple[int, int]] = {}
    for key, (objects, examples) in sorted(found.items()):
        if not 0 <= key.number < MOST_CLASSES:
            continue
        labels.setdefault(key.number, Label(key.number, key.id, key.name))
        before = counts.get(key.number, (0, 0))
        counts[key.number] = before[0] + objects, before[1] + examples
    if not labels:
        return None
    for number in range(max(labels)):
        labels.setdefault(number, Label(number, number, str(number)))
    return LabelTable(labels.values()).with_counts(counts)


def class_labels(
    known: LabelTable | None, classes: Mapping[str, int], counts: Mapping[int, int]
) -> LabelTable | None:
    """The labels of a set whose sub-folders are classes; `counts` are the new examples of each class."""
    table = joined_labels(known, [Label(number, number, name) for name, number in classes.items()], {})
    return None if table is None else table.with_counts({number: (num, num) for number, num in counts.items()})
