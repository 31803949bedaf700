"""A parser under test: what is damaged, and the public entry that reads it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .damage import Damage

__all__ = ["Target", "find_target"]

MODULES = ("arrays", "faulty", "pictures", "sets", "sounds", "states", "tars", "videos")


@dataclass(frozen=True)
class Target:
    """`prepare(folder)` makes a valid input once; `play(seed, damage, folder)` damages it and reads it.

    `play` raises what the library raises. Both may write below the folder they are given.
    """

    name: str
    prepare: Callable[[Path], Any]
    play: Callable[[Any, Damage, Path], None]


def find_target(name: str) -> Target:
    """The target "MODULE WHAT": that of this name in `TARGETS` of a module beside this one."""
    module = importlib.import_module(f".{name.split(' ')[0]}", __package__)
    return next(target for target in module.TARGETS if target.name == name)
