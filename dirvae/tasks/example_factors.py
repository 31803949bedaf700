"""The factors of an example, and the categories of its annotations, from its members."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

__all__ = ["FIELDS", "annotated_categories", "example_factors", "without_field_warnings"]

FIELDS = ("json", "cls")
"""Members that factors come from: a JSON object, and the number of a class, which is the factor `class`."""


def example_factors(described: Any, number: Any) -> dict[str, Any] | None:
    """The factors of an example: the plain values of its JSON object, and the number of its class. None without either.

    The number of the class is text, because classes have no order. Lists and objects, such as annotations, are not
    factors.
    """
    named = {} if number is None else {"class": str(int(number))}
    if isinstance(described, dict):
        plain = {name: value for name, value in described.items() if not isinstance(value, dict | list)}
        return {**named, **plain}
    return named or None


def annotated_categories(described: Any) -> frozenset[str] | None:
    """The categories that an example has annotations of; None if it has no list of annotations."""
    annotations = described.get("annotations") if isinstance(described, dict) else None
    if not isinstance(annotations, list):
        return None
    names = (annotation.get("category") for annotation in annotations if isinstance(annotation, dict))
    return frozenset(name for name in names if isinstance(name, str))


@contextlib.contextmanager
def without_field_warnings() -> Iterator[None]:
    """A context without the warnings that examples have none of these members."""
    with warnings.catch_warnings():
        for name in FIELDS:
            warnings.filterwarnings("ignore", message=f".*no example of the first batch has a field {name!r}")
        yield
