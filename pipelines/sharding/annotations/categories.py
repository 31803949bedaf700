"""The categories of annotation files as classes 0 to C - 1, the same numbers after every addition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

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
    """All categories by id, and what each file means by its ids; a file without categories uses those of all."""

    categories: tuple[Category, ...]
    ids: frozenset[Key]


def number_categories(
    entries: Iterable[CategoryEntry], known: Mapping[int, int], log: ProblemLog
) -> NumberedCategories:
    """Classes in the order of the ids; ids that are `known` (id → class) keep theirs, and new ones follow."""
    first: dict[int, dict[str, Any]] = {}
    by_name: dict[str, int] = {}
    ids = set[Key]()
    for source, file, value in entries:
        number, name = value.get("id"), value.get("name")
        place = f"{file}: category {shown(number)}, {shown(name)}"
        if type(number) is not int or not isinstance(name, str) or not name:
            log.add("category entry", place)
        elif number in first and first[number]["name"] != name:
            other = f"{place}, before {shown(first[number]['name'])}"
            log.add("category conflict", other)
        else:
            if by_name.setdefault(name, number) != number:
                log.add("category named twice", f"{place}, before {by_name[name]}")
            ids.add((source, number))
            first[number] = value | first.get(number, {})
    classes = _class_numbers(first, known)
    found = tuple(_category(classes[number], first[number]) for number in sorted(first))
    return NumberedCategories(found, frozenset(ids))


def _class_numbers(ids: Iterable[int], known: Mapping[int, int]) -> dict[int, int]:
    """Id → class: known ones, then the others by id after the highest number that is known."""
    start = max(known.values(), default=-1) + 1
    new = sorted(set(ids) - known.keys())
    return {**known, **{number: start + place for place, number in enumerate(new)}}


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
