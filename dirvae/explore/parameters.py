"""The parameters of explorations: their kinds, and checks of their values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dirvae.explore.sheet import ExplorationError

__all__ = ["Parameter", "ParameterKind"]

ParameterKind = Literal["key", "keys", "components", "count", "choice", "weights"]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A value that an exploration takes by name.

    kind         "key": the key of an example; "keys": several keys; "components": numbers of components, from 0 on;
                 "count": a whole number; "choice": one of `choices`; "weights": finite numbers
    default      None if the exploration chooses, as `help` says
    help         a few words without a full stop
    choices      allowed values of the kind "choice"
    least, most  limits of a count, or of the length of a list. None: no limit
    """

    name: str
    kind: ParameterKind
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None

    @property
    def is_list(self) -> bool:
        """Whether the value is a sequence."""
        return self.kind in ("keys", "components", "weights")

    def checked(self, value: Any) -> Any:
        """The value, lists as tuples; the default for None. Raises `ExplorationError` for a value that does not fit."""
        if value is None:
            return self.default
        if self.is_list:
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise self._refused(value)
            items = tuple(value)
            if not all(map(self._is_item, items)):
                raise self._refused(value)
            self._check_range(len(items), f"{self.name} has {len(items)} values; it must have")
            return items
        if not self._is_item(value):
            raise self._refused(value)
        if self.kind == "count":
            self._check_range(value, f"{self.name} is {value}; it must be")
        return value

    def _is_item(self, value: Any) -> bool:
        if self.kind in ("key", "keys"):
            return isinstance(value, str)
        if self.kind == "choice":
            return value in self.choices
        if isinstance(value, bool):
            return False
        if self.kind == "weights":
            return isinstance(value, int | float) and math.isfinite(value)
        return isinstance(value, int)

    def _check_range(self, number: int, begin: str) -> None:
        least = 0 if self.least is None else self.least
        if number < least or (self.most is not None and number > self.most):
            top = "or more" if self.most is None else f"to {self.most}"
            same = self.most == self.least
            raise ExplorationError(f"{begin} {self.least if same else f'{least} {top}'}.")

    def _refused(self, value: Any) -> ExplorationError:
        wanted = {
            "key": "the key of an example",
            "keys": "keys of examples",
            "components": "numbers of components",
            "count": "a whole number",
            "choice": f"one of {', '.join(self.choices)}",
            "weights": "finite numbers",
        }[self.kind]
        return ExplorationError(f"{self.name} is {str(value)[:60]!r}; it must be {wanted}.")
