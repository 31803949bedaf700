"""Settings as frozen values that cannot be wrong: checked when they are made, saved as JSON, compared on resume.

The settings of a run come in parts: training (`FitConfig`), and the data and the model of its type. Each part is a
subclass. `None` means off.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from dirvae.nearest import nearest_name
from dirvae.training.errors import ConfigError

__all__ = [
    "FREE",
    "SettingError",
    "Settings",
    "flag_name",
    "is_count",
    "is_number",
    "is_positive",
    "refuse_unknown",
]

FREE = {"may_change_on_resume": True}
"""Metadata of a field that may change when a run is resumed; the others may not."""


class SettingError(ConfigError):
    """A setting has a value that it may not have: said in the words of Python, and by `typed` in those of flags."""

    def __init__(self, name: str, value: object, expected: str, *, may_be_none: bool = False) -> None:
        super().__init__(f"{name} is {value!r}; it must be {'None or ' if may_be_none else ''}{expected}.")
        self.name, self.value, self.expected = name, value, expected

    def typed(self, off_at_zero: Collection[str], *, dashes: str = "--") -> str:
        """The sentence for a flag, or without `dashes` for a file; 0 turns `off_at_zero` settings off."""
        off = "0 for none, or " if self.name in off_at_zero else ""
        value = str(self.value).lower() if isinstance(self.value, bool) else repr(self.value)
        return f"{dashes}{flag_name(self.name)} is {value}; it must be {off}{self.expected}."


def flag_name(name: str) -> str:
    """The name of a setting as it is typed."""
    return name.replace("_", "-")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One part of a run's settings. Raises `ConfigError` for a value out of range."""

    def __post_init__(self) -> None:
        """Check the fields; a subclass calls this one too, so that several parts can be joined."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the settings, in order."""
        return tuple(entry.name for entry in fields(cls))

    @classmethod
    def fixed_names(cls) -> tuple[str, ...]:
        """The names of the settings that may not change when a run is resumed."""
        return tuple(entry.name for entry in fields(cls) if not entry.metadata.get("may_change_on_resume"))

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values, one key per field."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The settings saved by `to_json`. Raises `ConfigError` for unknown keys or bad values."""
        refuse_unknown(content, cls.names())
        return cls(**content)

    @classmethod
    def from_joined(cls, content: Mapping[str, Any]) -> Self:
        """The settings of this part, from JSON that holds those of other parts as well."""
        return cls(**{name: content[name] for name in cls.names() if name in content})

    def changes_since(self, before: Self) -> list[str]:
        """The differences from `before` that a resumed run may not have, as `flag: old → new`."""
        return [
            f"{flag_name(name)}: {_typed(getattr(before, name))} → {_typed(getattr(self, name))}"
            for name in self.fixed_names()
            if getattr(before, name) != getattr(self, name)
        ]

    def check(self, name: str, is_valid: bool, expected: str) -> None:
        """Raise `SettingError` unless the setting is valid. `expected`: what it must be, apart from None."""
        if not is_valid:
            may_be_none = any(entry.name == name and "None" in str(entry.type) for entry in fields(self))
            raise SettingError(name, getattr(self, name), expected, may_be_none=may_be_none)

    def check_counts(self, *names: str, smallest: int) -> None:
        """Check that settings are whole numbers from `smallest` on."""
        for name in names:
            self.check(name, is_count(getattr(self, name), smallest), f"a whole number ≥ {smallest}")

    def check_counts_or_none(self, *names: str) -> None:
        """Check that settings are None or whole numbers from 1 on."""
        for name in names:
            self.check(name, getattr(self, name) is None or is_count(getattr(self, name), 1), "a whole number ≥ 1")


def refuse_unknown(content: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise `ConfigError` for keys that are not among the known settings."""
    unknown = [name for name in content if name not in known]
    if unknown:
        named = ", ".join(_with_nearest(name, known) for name in sorted(unknown))
        raise ConfigError(f"unknown setting {named}; the settings are {', '.join(sorted(known))}.")


def _with_nearest(name: str, known: tuple[str, ...]) -> str:
    found = nearest_name(name, known)
    return repr(name) if found is None else f"{name!r} (did you mean {found!r}?)"


def _typed(value: object) -> str:
    return {"None": "none", "False": "no", "True": "yes"}.get(str(value), str(value))


def is_count(value: object, smallest: int) -> bool:
    """Whether a value is a whole number from `smallest` on."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= smallest


def is_number(value: object) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_positive(value: object) -> bool:
    """Whether a value is a finite number above 0."""
    return isinstance(value, int | float) and is_number(value) and value > 0
