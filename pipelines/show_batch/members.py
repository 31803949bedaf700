"""The members of examples on a sheet: which there are, which are asked for, and how each is written."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..batching.batch import Batch
from ..batching.fields import absent_fields
from ..boxes import is_record
from ..sources.source import Source
from ..storage.json_text import parse_json
from .sheet import Line
from .style import QUIET, UNKNOWN, Colour

__all__ = ["Chosen", "chosen_members", "lines_of"]

DRAWN = ("boxes", "masks", "keypoints")
OF_A_RECORD = (*DRAWN, "captions")
ALIASES = {"classes": "boxes", "crowd": "boxes"}
BY_DEFAULT = ("txt", "cls")
LOOKED_AT = 32
SEARCHED = 2000
"""Examples among which the first one with a field is looked for."""
KEY_SIZE, CAPTION_SIZE, DETAIL_SIZE = 10.0, 10.0, 9.0
RED: Colour = (186, 46, 36)


@dataclass(frozen=True)
class Chosen:
    """What is shown: members that are read, what is drawn from their json, and whether the user named them."""

    members: tuple[str, ...]
    of_record: tuple[str, ...]
    is_asked: bool

    @property
    def to_read(self) -> tuple[str, ...]:
        """The members that an iterator has to deliver."""
        needs_record = ("json",) if self.of_record else ()
        return tuple(dict.fromkeys((*needs_record, *self.members)))

    def drawn(self, batch: Batch, source: Source, *, is_as_stored: bool = False) -> tuple[str, ...]:
        """The names in `of_record` that the batch has. Raises `ValueError` for a field that was asked for and it lacks.

        Where batches follow the order of the source (`is_as_stored`), the error says which example has it.
        """
        missing = [name for name in absent_fields(batch.fields) if name in self.members]
        there = {name for value in batch.fields.get("json", ()) for name in _in_record(value)}
        missing += [name for name in self.of_record if name not in there]
        if self.is_asked and missing:
            known = sorted(_known_in(source))
            name = source.shown_name
            if is_as_stored and (found := _first_with(source, missing[0])) is not None:
                raise ValueError(
                    f"{name}: no example of this batch has the field {missing[0]!r}, but example {found:,} has: "
                    f"--start {found}."
                )
            have = f"fields in this source: {', '.join(known)}" if known else "its examples have none"
            raise ValueError(f"{name}: no example of this batch has the field {missing[0]!r}; {have}.")
        return tuple(name for name in self.of_record if name in there)


def chosen_members(source: Source, asked: Sequence[str] | None) -> Chosen:
    """What to show of the examples of a source: what was asked for, else what is usually looked at."""
    if asked is not None:
        names = tuple(dict.fromkeys(ALIASES.get(name, name) for name in asked))
        of_record = tuple(name for name in names if name in OF_A_RECORD)
        return Chosen(tuple(name for name in names if name not in OF_A_RECORD), of_record, True)
    names = _names_in(source)
    return Chosen(
        tuple(name for name in BY_DEFAULT if name in names), OF_A_RECORD if "json" in names else (), False
    )


def _names_in(source: Source) -> tuple[str, ...]:
    """The members of some examples."""
    return tuple(dict.fromkeys(name for index in _spaced(source) for name in source.locate(index).fields))


def _spaced(source: Source) -> range:
    """Some examples, evenly spaced over the source."""
    return range(0, len(source), max(1, len(source) // LOOKED_AT))


def _known_in(source: Source) -> set[str]:
    """What `--fields` may name, as some examples show it."""
    known = set(_names_in(source))
    for index in _spaced(source) if "json" in known else ():
        known |= _shown_of(source, index)
    return known


def _first_with(source: Source, name: str) -> int | None:
    """The first example with a field, among the first ones and some others; None if none of them has it."""
    searched: dict[int, None] = dict.fromkeys((*range(min(len(source), SEARCHED)), *_spaced(source)))
    for index in searched:
        if name in source.locate(index).fields or (name in OF_A_RECORD and name in _shown_of(source, index)):
            return index
    return None


def _shown_of(source: Source, index: int) -> set[str]:
    """What a sheet can show of the json member of an example."""
    member = source.locate(index).fields.get("json")
    with contextlib.suppress(ValueError):  # one that is damaged
        return set() if member is None else _in_record(parse_json(member.read(0, member.size)))
    return set()


def _in_record(value: Any) -> set[str]:
    """What a sheet can show of a parsed json member: names in `OF_A_RECORD`."""
    found = {"captions"} if captions_of(value) else set()
    if is_record(value):
        objects = value.get("annotations") or []
        for name, key in (("boxes", "bbox"), ("masks", "segmentation"), ("keypoints", "keypoints")):
            found |= {name} if any(one.get(key) for one in objects) else set()
    return found


def lines_of(batch: Batch, number: int, members: Sequence[str], *, caption: bool, details: str = "") -> list[Line]:
    """What is written below an example: its key, a caption, and its members."""
    lines = [Line(batch.keys[number], KEY_SIZE, keep_end=True)]
    if batch.substituted is not None and batch.substituted[number]:
        lines.append(Line("in place of a damaged one", DETAIL_SIZE, RED, most_lines=2))
    if details:
        lines.append(Line(details, DETAIL_SIZE, QUIET))
    if caption:
        found = captions_of(batch.fields["json"][number])
        if found:
            lines.append(Line(found[0], CAPTION_SIZE, QUIET, most_lines=3))
        if len(found) > 1:
            lines.append(Line(f"and {len(found) - 1} more", DETAIL_SIZE, UNKNOWN))
    for name in members:
        value = batch.fields[name][number]
        if value is not None:
            text = _described(value)
            shown = text if name == "txt" else f"{name}: {text}"
            lines.append(Line(shown, DETAIL_SIZE, QUIET, most_lines=3))
    return lines


def _described(value: Any) -> str:
    """A member in words: a text as it is, the plain entries of an object, the shape of an array."""
    if isinstance(value, Mapping):
        plain = {key: one for key, one in value.items() if isinstance(one, str | int | float | bool)}
        nested = [f"{key} [{len(one)}]" for key, one in value.items() if isinstance(one, list | dict)]
        return ", ".join([*(f"{key} {_number(one)}" for key, one in plain.items()), *nested])
    if isinstance(value, np.ndarray) and value.ndim:
        return f"{' by '.join(map(str, value.shape))} {value.dtype}"
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    return str(_number(value))


def _number(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else value


def captions_of(value: Any) -> list[str]:
    """The captions in a json member; an empty list if it has none."""
    entries = value.get("captions") if isinstance(value, Mapping) else None
    texts = [one.get("caption") for one in entries if isinstance(one, Mapping)] if isinstance(entries, list) else []
    return [text for text in texts if isinstance(text, str)]
