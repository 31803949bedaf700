"""The name that was probably meant by an unknown one, for errors that offer it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["nearest_name"]

ALIASES = {"lr": "learning-rate"}
"""What others call a setting, too far from its name here to be found by its letters."""
NEAR = 0.75
"""The least similarity, by `difflib`'s ratio, at which one name passes for a misspelling of another."""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, dashes and underscores aside; None if no name is similar.

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
