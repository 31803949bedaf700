"""The factors in the JSON objects of examples, and why other entries are not factors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from dirvae.evaluate.factors import Factor, distinct_values, is_plain, make_factor
from pipelines.shown_names import shown_name

__all__ = ["categories_of", "factors_of", "left_out"]

MOST_CATEGORIES = 20


def factors_of(fields: Sequence[Mapping[str, Any]], *, circular: Sequence[str] = ()) -> list[Factor]:
    """Factors of examples, from one JSON object each: entries of numbers or text that all have and that vary.

    Text that is different in every example, such as a file name, is not a factor. ValueError if a `circular` name is
    not among the entries, or does not vary.
    """
    columns = _columns(fields)
    if missing := sorted(set(circular) - set(columns)):
        raise ValueError(
            f"no factor is called {shown_name(missing[0])}; the examples have {_listed(columns) or 'none'}."
        )
    if fixed := [name for name in circular if len(distinct_values(columns[name])) < 2]:
        raise ValueError(
            f"the factor {shown_name(fixed[0])} is the same in all examples; leave it out of the circular ones."
        )
    return [
        make_factor(name, column, circular=name in circular)
        for name, column in columns.items()
        if len(distinct_values(column)) > 1 and not _names_examples(column)
    ]


def left_out(fields: Sequence[Mapping[str, Any]], *, label: str | None = None) -> list[str]:
    """Sentences about numbers and texts in these JSON objects that cannot be factors.

    Missing values of the `label` are not mentioned here, but in the notes about the label.
    """
    columns = _columns(fields)
    fixed = [name for name, column in columns.items() if len(distinct_values(column)) < 2]
    unique = [name for name, column in columns.items() if name not in fixed and _names_examples(column)]
    wide = [
        name
        for name in fields[0]
        if all(isinstance(entry.get(name), str | int | float) for entry in fields)
        and not all(is_plain(entry[name]) for entry in fields)
    ]
    empty = {
        name: sum(entry.get(name) is None for entry in fields)
        for name in dict.fromkeys(name for entry in fields for name in entry)
        if name != label and any(name in entry and entry[name] is None for entry in fields)
    }
    counts = {name: f" ({num:,} of {len(fields):,})" for name, num in empty.items()}
    reasons = {
        "they are the same in all examples": fixed,
        "their text is different in every example": unique,
        "they are not finite or too large for float64": wide,
        "examples have no value": empty,
    }
    return [
        f"not used as factors, because {reason}: {_listed(names, counts)}"
        for reason, names in reasons.items()
        if names
    ]


def categories_of(fields: Sequence[Mapping[str, Any]]) -> list[Factor]:
    """Each value of factors that are text, such as a shape, as a separate factor: `shape=heart` or not.

    A latent may give each value a component of its own. The whole factor then has no gap, because several components
    hold it equally.
    """
    names = [name for name in fields[0] if all(isinstance(entry.get(name), str) for entry in fields)]
    kinds = {name: sorted({entry[name] for entry in fields}) for name in names}
    return [
        make_factor(f"{name}={kind}", [entry[name] == kind for entry in fields])
        for name in names
        if 2 < len(kinds[name]) <= MOST_CATEGORIES
        for kind in kinds[name]
    ]


def _listed(names: Iterable[str], counts: Mapping[str, str] = MappingProxyType({})) -> str:
    return ", ".join(shown_name(name, quoted=False) + counts.get(name, "") for name in names)


def _columns(fields: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = [name for name in fields[0] if all(is_plain(entry.get(name)) for entry in fields)]
    return {name: [entry[name] for entry in fields] for name in names}


def _names_examples(column: Sequence[Any]) -> bool:
    return isinstance(column[0], str) and len(distinct_values(column)) == len(column)
