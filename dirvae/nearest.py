"""The name that was probably meant by an unknown one, for errors that offer it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["nearest_name"]

ALIASES = {"lr": "learning-rate"}
"""What others call a setting, too far from its name here to be found by its letters."""
NEAR = 0.75
"""How alike two names are of which one is a slip of the other, by `difflib`'s ratio."""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest, whatever its dashes and underscores; None where none is near.

    >>> nearest_name("--stepz", ["--steps", "--seed"])
    '--steps'
    """
    plain = {_plain(one): one for one in known}
    if (alias := ALIASES.get(_plain(name))) in plain:
        return plain[alias]
    found = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=NEAR)
    return plain[found[0]] if found else None


def _plain(name: str) -> str:
    return name.lstrip("-").replace("_", "-")
