"""The functions that compute fields of recordings in packing, by their names.

A feature is `(samples, sample_rate) -> (rows, rows per second)`; what becomes of the rows is in
`modalities.feature_rows`. It is named

    f0                    as an installed package announces it: an entry point of the group `pipelines.features`
    module:function       as it is imported; the feature has the function's name
    NAME=module:function  the same, under another name

or is given as a function. Worker processes import it by its name, and by that the manifest knows it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import ShardingError
from ..storage.sidecars import is_field_name
from .wording import joined

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "Feature", "FeatureFunction", "Features", "named_features", "needs_package"]

GROUP = "pipelines.features"

FeatureFunction: TypeAlias = Callable[[NDArray[np.float32], int], tuple[Any, Any]]
"""Samples (channel, time) and their rate in Hz → rows (row, …), or a dict of fields of them, and rows per second."""

Features: TypeAlias = Mapping[str, FeatureFunction | str] | Iterable[str] | str

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class Feature:
    """A function under the name that its field gets; `target` is "module:function". Pickled, it is its names."""

    name: str
    target: str
    function: FeatureFunction | None = field(default=None, compare=False, repr=False)

    def load(self) -> FeatureFunction:
        """The function. Raises `ShardingError` where it cannot be imported."""
        return self._imported() if self.function is None else self.function

    def _imported(self) -> FeatureFunction:
        module, _, name = self.target.partition(":")
        try:
            found: Any = importlib.import_module(module)
        except ImportError as error:
            raise needs_package(self, error) from error
        except Exception as error:
            raise ShardingError(
                f"features names {self.target}; importing {module} fails ({_said(error)})."
            ) from error
        for part in name.split("."):
            found = getattr(found, part, None)
        if not callable(found):
            raise ShardingError(f"features names {self.target}; there is no such function in {module}.")
        function: FeatureFunction = found
        return function

    def check_importable(self) -> None:
        """Raise `ShardingError` for a function that another process would not find by its name."""
        if self.function is None:
            return
        is_name = _TARGET.fullmatch(self.target) is not None and not self.target.startswith("__main__:")
        if not is_name or self._imported() is not self.function:
            raise ShardingError(
                f"features gives {self.name} a function that worker processes cannot import ({self.target}): move it "
                "to the top level of a module that can be imported, or use workers=0."
            )

    def __reduce__(self) -> tuple[object, ...]:
        return Feature, (self.name, self.target)


def named_features(features: object) -> tuple[Feature, ...]:
    """The features that a setting names, sorted by name: see `Features`; a text may name several, with commas.

    Raises `ValueError` for names that are unknown, or cannot be those of fields, `TypeError` for anything else.
    """
    if isinstance(features, Mapping):
        found = [_given(name, value) for name, value in features.items()]
    elif isinstance(features, Iterable):
        texts = [features] if isinstance(features, str) else list(features)
        found = [_named(name) for text in texts for name in _names(text)]
    else:
        raise TypeError(f'features is {features!r}; it must be names, or functions by name: {{"f0": function}}.')
    for one in found:
        if not is_field_name(one.name) or one.name != one.name.lower():
            raise ValueError(
                f"features has {one.name!r}, which cannot be the name of a field: letters in lower case, digits, _ and "
                "-, not the suffix of a media file. NAME=module:function gives another."
            )
    names = [one.name for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"features has {twice[0]} twice; NAME=module:function gives one of them another name.")
    return tuple(sorted(found, key=lambda one: one.name))


def _given(name: object, value: object) -> Feature:
    """A feature that stands in a mapping."""
    if not isinstance(name, str) or not (isinstance(value, str) or callable(value)):
        raise TypeError(
            f"features has {name!r}: {value!r}; a name, and a function or the name of one, are expected."
        )
    if isinstance(value, str):
        return Feature(name, _target_of(value))
    module, qualified = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualified, str):
        raise TypeError(
            f"features has {name}: {value!r}, which has no name for the manifest. Define the function with def."
        )
    return Feature(name, f"{module}:{qualified}", value)


def _names(text: object) -> list[str]:
    if not isinstance(text, str):
        raise TypeError(f"features has {text!r}; it must be a name, or stand behind one: {{'f0': function}}.")
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ValueError(f"features has an empty name in {text!r}; name a feature there, or leave it out.")
    return names


def _named(text: str) -> Feature:
    """A feature that is named alone."""
    name, equals, target = (part.strip() for part in text.rpartition("="))
    return Feature(name if equals else re.split("[:.]", target)[-1], _target_of(target))


def _target_of(text: str) -> str:
    """The "module:function" that a text is, or that a package announces under this name."""
    if ":" in text:
        if not _TARGET.fullmatch(text):
            raise ValueError(f"features names {text!r}; it must be module:function, or a name such as f0.")
        return text
    announced = _announced()
    if text not in announced:
        known = (
            f"known are {joined(sorted(announced), 'and')}" if announced else "no installed package announces any"
        )
        raise ValueError(
            f"features names {text!r}, which is not known ({known}): name it as module:function, or install the "
            "package that announces it, again where its checkout has changed since (pip install -e .)."
        )
    entry = announced[text]
    return f"{entry.module}:{entry.attr}"


def _announced() -> dict[str, EntryPoint]:
    """What installed packages announce, by name; the first on the path counts."""
    from importlib.metadata import entry_points

    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, entry)
    return found


def needs_package(feature: Feature, error: ImportError) -> ShardingError:
    """What is said where importing a feature, or calling it, raised `ImportError`: which package is missing."""
    module = feature.target.partition(":")[0]
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and f"{module}.".startswith(f"{missing}."):
        return ShardingError(
            f"features names {feature.target}; there is no module {missing}. Install it, or correct it."
        )
    for entry in _announced().values():
        if f"{entry.module}:{entry.attr}" == feature.target and entry.extras and entry.dist is not None:
            install = f"pip install '{entry.dist.name}[{','.join(entry.extras)}]'"
            return ShardingError(
                f"features: {feature.name} needs {missing or f'more ({_said(error)})'}: {install}."
            )
    needs = f"needs {missing}, which is missing. Install it" if missing else f"cannot be imported ({_said(error)})"
    return ShardingError(f"features: {feature.name} ({feature.target}) {needs}.")


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": .")
