"""The categories of annotation files as classes 0 to C - 1, the same numbers after every addition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from ..findings import LabelKey
from .problems import ProblemLog, shown

__all__ = ["Category", "CategoryEntry", "NumberedCategories", "number_categories"]

Key = tuple[int, int]
"""(number of the annotation file, category id)."""


@dataclass(frozen=True)
class Category:
    """A category: the number of its class, its id and names as the file has them, and its keypoints.

    `skeleton` has pairs of numbers of keypoints, which COCO counts from 1.
    """

    class_number: int
    id: int
    name: str
    supercategory: str | None = None
    keypoints: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()


class CategoryEntry(NamedTuple):
    """An entry of the section "categories": the number and the name of its file, and the object."""

    source: int
    file: str
    value: dict[str, Any]


@dataclass(frozen=True)
class NumberedCategories:
    """All categories in the order of their ids, and which ids each file explains: (file, id)."""

    categories: tuple[Category, ...]
    ids: frozenset[Key]


def number_categories(
    entries: Iterable[CategoryEntry], known: Sequence[LabelKey], log: ProblemLog
) -> NumberedCategories:
    """Classes in the order of the ids; the `known` labels of a set that is added to keep theirs, and new ones follow.

    If an id has another name in a known label or in an earlier file, its file does not explain it.
    """
    labels = {label.id: label for label in reversed(known)}
    names = {number: label.name for number, label in labels.items() if not _is_gap(label)}
    by_name = {name: number for number, name in names.items()}
    first: dict[int, dict[str, Any]] = {}
    ids = set[Key]()
    for entry in entries:
        number, name = entry.value.get("id"), entry.value.get("name")
        if type(number) is not int or not isinstance(name, str) or not name:
            log.add("category entry", partial(_place, entry))
        elif names.setdefault(number, name) != name:
            log.add("category conflict", partial(_place, entry, names[number]))
        else:
            if by_name.setdefault(name, number) != number:
                log.add("category named twice", partial(_place, entry, by_name[name]))
            ids.add((entry.source, number))
            first[number] = entry.value | first.get(number, {})
    kept = {
        number: labels[number].number for number in first if _has_name(labels.get(number), first[number]["name"])
    }
    classes = _class_numbers(first, kept, max((label.number for label in known), default=-1) + 1)
    found = tuple(_category(classes[number], first[number]) for number in sorted(first))
    return NumberedCategories(found, frozenset(ids))


def _class_numbers(ids: Iterable[int], kept: Mapping[int, int], start: int) -> dict[int, int]:
    """Id → class: those that are kept, then the others by id from `start`."""
    new = sorted(set(ids) - kept.keys())
    return {**kept, **{number: start + place for place, number in enumerate(new)}}


def _is_gap(label: LabelKey) -> bool:
    """Whether a label only fills a gap between two classes: its name, id and number are the same."""
    return label.name == str(label.id) == str(label.number)


def _has_name(label: LabelKey | None, name: str) -> bool:
    return label is not None and label.name == name


def _place(entry: CategoryEntry, before: int | str | None = None) -> str:
    """A category for a sentence, with the id or name of an earlier one."""
    place = f"{entry.file}: category {shown(entry.value.get('id'))}, {shown(entry.value.get('name'))}"
    return place if before is None else f"{place}, before {before if isinstance(before, int) else shown(before)}"


def _category(class_number: int, value: dict[str, Any]) -> Category:
    supercategory, keypoints, skeleton = (value.get(key) for key in ("supercategory", "keypoints", "skeleton"))
    return Category(
        class_number,
        value["id"],
        value["name"],
        supercategory if isinstance(supercategory, str) else None,
        tuple(map(str, keypoints)) if isinstance(keypoints, list) else (),
        tuple((pair[0], pair[1]) for pair in skeleton if _is_pair(pair)) if isinstance(skeleton, list) else (),
    )


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(one) is int for one in value)
