"""Annotation files and tables in the settings of a manifest: of every part of a set, compared, and named to people.

    "annotations": [["a.json", "digest"], ["b.json", "digest"]], "annotations_of_parts": [[0], [1]]

`annotations` are all files that were used, in the order in which they came up. Where files were added to the set with
others than before, `annotations_of_parts` has one list for each part: the places in `annotations` of those that it
was packed with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .wording import joined, printable

__all__ = ["ATTACHED", "digests_used", "names_of", "of_last_part", "said_difference", "with_part"]

ATTACHED = ("annotations", "labels")
"""Settings that may change where files are added: what annotations say of files that are packed stays as it is."""
PARTS = "annotations_of_parts"


def of_last_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a manifest as the run had them that made its last part."""
    found = {name: value for name, value in settings.items() if name != PARTS}
    if PARTS in settings:
        files = settings.get("annotations") or []
        last = _parts(settings)[-1]
        found["annotations"] = [files[place] for place in last]
        if not last:
            del found["annotations"]
    return found


def with_part(earlier: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Settings after an addition: those of the run, with the annotation files of all parts. `earlier` are the set's."""
    files, added = list(earlier.get("annotations") or []), own.get("annotations") or []
    parts = _parts(earlier)
    files += [one for one in added if one not in files]
    part = [files.index(one) for one in added]
    if part != parts[-1]:
        parts = [*parts, part]
    found = dict(own)
    if files:
        found["annotations"] = files
    if len(parts) > 1:
        found[PARTS] = parts
    return found


def digests_used(settings: Mapping[str, Any]) -> frozenset[str]:
    """The digests of all annotation files, and of the table, that a set was packed with."""
    table = settings.get("labels")
    described = [*(settings.get("annotations") or ()), *([table] if table else ())]
    return frozenset(str(one[1]) for one in described if isinstance(one, list) and len(one) > 1)


def names_of(name: str, value: Any) -> str:
    """The names of annotation files, or of a table, for a sentence: `a.json and b.json`."""
    return joined([printable(file) for file in _digests(name, value)], "and")


def said_difference(name: str, was: Any, is_now: Any) -> str:
    """How one setting differs: "resize was 256 and is None"; files are called by their names."""
    if name not in ATTACHED:
        return f"{name} was {was} and is {is_now}"
    if not is_now:
        return f"was packed with {name} ({names_of(name, was)}) and is packed without"
    if not was:
        return f"was packed without {name} and is packed with them ({names_of(name, is_now)})"
    before, now = _digests(name, was), _digests(name, is_now)
    if list(before) != list(now):
        return f"{name} was {names_of(name, was)} and is {names_of(name, is_now)}"
    if changed := [file for file in now if now[file] != before[file]]:
        return f"{name} has changed ({joined([printable(file) for file in changed], 'and')})"
    return f"label_key was {was[2:]} and is {is_now[2:]}" if name == "labels" else f"{name} has changed"


def _digests(name: str, value: Any) -> dict[str, Any]:
    """Name → digests of the files of a setting, as a manifest has it; several files may have one name."""
    found: dict[str, Any] = {}
    described = [value] if name == "labels" else value
    for one in described if isinstance(described, list) else ():
        if isinstance(one, list) and len(one) > 1:
            found[str(one[0])] = [*found.get(str(one[0]), ()), one[1]]
    return found or {"unknown": value}


def _parts(settings: Mapping[str, Any]) -> list[list[int]]:
    """Of each part of a set the places of its annotation files, at least one part."""
    num = len(settings.get("annotations") or ())
    parts = settings.get(PARTS)
    if isinstance(parts, list) and parts and all(_are_places(part, num) for part in parts):
        return parts
    return [list(range(num))]


def _are_places(part: Any, num: int) -> bool:
    return isinstance(part, list) and all(type(place) is int and 0 <= place < num for place in part)
