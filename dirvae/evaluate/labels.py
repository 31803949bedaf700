"""Labels of examples, found by name: a factor in their JSON objects, or a category of annotated pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dirvae.evaluate.factors import is_plain
from dirvae.nearest import nearest_name
from pipelines.shown_names import shown_name

__all__ = ["Label", "find_label"]

MOST_NAMED = 12
"""How many factors, or categories, a sentence lists."""


@dataclass(frozen=True, eq=False)
class Label:
    """A value per example, None if absent. `name` is spelled as in the data.

    The value of a category says whether the example has an annotation of it. `is_both`: a factor that has the same name
    as a category.
    """

    name: str
    values: list[Any]
    is_category: bool
    is_both: bool = False

    @property
    def known(self) -> list[Any]:
        """The values of the examples that have one."""
        return [value for value in self.values if value is not None]

    @property
    def kind(self) -> str:
        """ "category" or "factor"."""
        return "category" if self.is_category else "factor"

    @property
    def is_yes_or_no(self) -> bool:
        """Whether all values are truth values."""
        return all(isinstance(value, bool) for value in self.known)


def find_label(
    name: str,
    fields: Sequence[Mapping[str, Any] | None],
    categories: Sequence[Collection[str] | None],
) -> Label:
    """The factor with this name, or else the category with this name in any case.

    `fields`: the JSON object of each example, None if absent. `categories`: those of its annotations, None if it is not
    annotated. Values other than text, truth values and finite numbers count as absent. ValueError if neither a factor
    nor a category has the name; it suggests similar names.
    """
    factors = _factor_names(fields)
    known = Counter(category for found in categories for category in sorted(found or ()))
    same = {category for category in known if category.casefold() == name.casefold()}
    if name in factors:
        values = [_plain_or_none(None if entry is None else entry.get(name)) for entry in fields]
        return Label(name, values, is_category=False, is_both=bool(same))
    if same:
        spelled = name if name in same else min(same)
        return Label(
            spelled,
            [None if found is None else not same.isdisjoint(found) for found in categories],
            is_category=True,
        )
    raise ValueError(_unknown(name, factors, [category for category, _ in known.most_common()]))


def _factor_names(fields: Sequence[Mapping[str, Any] | None]) -> list[str]:
    """Names that have a value in at least one example, in order of first appearance."""
    return list(dict.fromkeys(name for entry in fields for name, value in (entry or {}).items() if is_plain(value)))


def _plain_or_none(value: Any) -> Any:
    return value if is_plain(value) else None


def _unknown(name: str, factors: list[str], categories: list[str]) -> str:
    near = [
        f"the {kind} {shown_name(found)}"
        for kind, names in (("factor", factors), ("category", categories))
        if (found := _nearest(name, names)) is not None
    ]
    meant = f" (did you mean {' or '.join(near)}?)" if near else ""
    have = _listed(factors) or "none"
    asked = shown_name(name)
    if not categories:
        return f"no factor is called {asked}{meant}; the examples have {have}."
    return (
        f"no factor or category is called {asked}{meant}; the factors of the examples are {have}, the categories of "
        f"their annotations {_listed(categories)}."
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(shown_name(name, quoted=False) for name in names[:MOST_NAMED]) + more


def _nearest(name: str, names: list[str]) -> str | None:
    spelled = {one.casefold(): one for one in reversed(names)}
    found = nearest_name(name.casefold(), spelled)
    return None if found is None else spelled[found]
