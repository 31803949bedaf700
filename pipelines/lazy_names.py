"""Public names of a package that are imported when they are first used, so that the package itself loads at once.

>>> # in a package's __init__.py, below its __all__:
>>> # lazy_names(__name__, {"Trainer": ".training.trainer"})
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str, places: Mapping[str, str]) -> None:
    """Give a package names that live in its modules, `.module` by name: each is imported when it is first asked for.

    A name stays what it is even where a module of the package has the same one: importing that module does not replace
    it. Other names raise `AttributeError`, as of any module.
    """
    module = sys.modules[package]
    module.__dict__["_places"] = dict(places)
    module.__class__ = _LazyPackage


class _LazyPackage(ModuleType):
    _places: dict[str, str]

    def __getattr__(self, name: str) -> Any:
        place = self._places.get(name)
        if place is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(place, self.__name__), name)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._places and isinstance(value, ModuleType):
            return  # the import system binds a module of the same name
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._places})
