"""Finding and showing one example, by its key or by its position in an epoch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..batching.ordered_source import OrderedSource
from ..errors import SourceError
from ..modality import HEAD_BYTES
from ..shown_names import escaped, shown_name
from ..sources.located import LocatedExample
from ..sources.opening import open_source
from ..sources.shards import ShardSource
from ..storage.index import IndexFlag
from ..storage.json_text import parse_json
from ..storage.keys import split_member_name
from ..storage.manifest import NAMES_NAME
from ..storage.media_types import sniff
from ..storage.npy import load_npy
from ..storage.remote.remote_store import RemoteStore
from ..storage.remote.urls import is_url
from ..storage.store import LOCAL
from ..storage.tar import iter_members
from .stored_files import AnyStore, below, read_small

__all__ = ["Place", "ShownExample", "example_json", "example_lines", "find_example"]

MOST_TEXT = 1 << 20
SHOWN_LINES = 60
NUMBERS = re.compile(r"\[((?:\s+-?[\d.eE+-]+,?)+)\s+\]")
"""Matches a list of numbers that `json` wrote over several lines."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place of an example: its `key`, or its `position` in an epoch.

    `seed` None means the stored order, as of an iterator with shuffle=False; else the order of an iterator with
    shuffle=True and this seed. Raises `ValueError` for an invalid place.
    """

    key: str | None = None
    position: int | None = None
    epoch: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        if (self.key is None) == (self.position is None):
            raise ValueError("Name one example: by its key, or by its position in an epoch.")
        if self.epoch < 0 or (self.position or 0) < 0:
            raise ValueError("An epoch and a position in it are numbers from 0 up.")


@dataclass
class ShownExample:
    """A found example: its `index` in the source, where it is stored, and in words how it was found."""

    source: ShardSource
    index: int
    located: LocatedExample
    how: str
    modality: str | None

    def close(self) -> None:
        """Close the source."""
        self.source.close()


def find_example(data: str, place: Place, modality: str = "image") -> ShownExample:
    """Find the example at a place; the caller closes it.

    Raises `SourceError` for data without shards, `ValueError` for an unknown key or position.
    """
    source = open_source(data, modality=modality)
    if not isinstance(source, ShardSource):
        raise SourceError(f"{source.shown_name}: no shards. Name a folder of shards, a tar or a URL.")
    if place.key is not None:
        index, how = _find_key(source, place.key), f"the key {shown_name(place.key)}"
    else:
        index, how = _find_position(source, place)
    located = source.locate(index)
    begins_like = sniff(located.media.read(0, HEAD_BYTES))
    return ShownExample(source, index, located, how, source.modality or (begins_like[0] if begins_like else None))


def _find_key(source: ShardSource, key: str) -> int:
    """The index of a key, from the names beside the manifest; if they do not help, from the headers of all tars."""
    index = _line_of(source, key)
    if index is not None and index < len(source) and source.locate(index).key == key:
        return index
    try:
        return source.find(key)
    except KeyError as error:
        raise ValueError(f"{source.shown_name}: no example has the key {shown_name(key)}.") from error


def _line_of(source: ShardSource, key: str) -> int | None:
    """The number of the line of a key in the names; None if there is none, or the names cannot be read."""
    first = source.tars[0]
    folder = first.partition("?")[0].rpartition("/")[0] if is_url(first) else str(Path(first).parent)
    store: AnyStore = RemoteStore(folder) if is_url(folder) else LOCAL
    begins = json.dumps([key], ensure_ascii=False)[:-1].encode("utf-8", "backslashreplace") + b","
    try:
        content = read_small(store, below(folder, NAMES_NAME)) or b""
    except SourceError:
        return None
    return next((number for number, line in enumerate(content.split(b"\n")) if line.startswith(begins)), None)


def _find_position(source: ShardSource, place: Place) -> tuple[int, str]:
    assert place.position is not None
    if place.position >= len(source):
        raise ValueError(f"position is {place.position:,}; the last of an epoch is {len(source) - 1:,}.")
    order = OrderedSource(source, place.seed is not None, None, place.seed or 0, 1)
    index = int(order.order(place.epoch, order.whole())(np.array([place.position]))[0])
    name = "shuffle=False (as stored)" if place.seed is None else f"shuffle=True, seed={place.seed}"
    return index, f"position {place.position:,} of epoch {place.epoch:,}, {name}, groups=1"


def example_lines(shown: ShownExample) -> Iterator[str]:
    """The facts of an example, as lines of text."""
    shard, row, number = _row_of(shown)
    offset, length = int(row["offset"]), int(row["length"])
    yield f"{escaped(shown.located.key)}"
    yield f"  found by   {escaped(shown.how)}"
    yield f"  example    {shown.index:,} of {len(shown.source):,} in the set, {number:,} in its shard"
    yield f"  shard      {escaped(shown.located.container)}"
    yield f"  bytes      {offset:,} to {offset + length:,} ({length:,})"
    yield "  index      " + ", ".join(f"{name} {value}" for name, value in _said(row))
    for name, start, size in _members(shown, shard, offset, length):
        mark = "  media" if start == shown.located.offset else ""
        yield f"  member     {escaped(name)}: {size:,} bytes at {start:,}{mark}"
    for name in sorted(shown.located.fields):
        yield from _field_lines(name, shown)


def example_json(shown: ShownExample) -> dict[str, Any]:
    """The facts of an example, as JSON values."""
    shard, row, number = _row_of(shown)
    members = _members(shown, shard, int(row["offset"]), int(row["length"]))
    return {
        "key": shown.located.key,
        "found_by": shown.how,
        "index": shown.index,
        "number_in_shard": number,
        "shard": shown.located.container,
        "row": {name: int(row[name]) for name in row.dtype.names},
        "members": [{"name": name, "offset": start, "bytes": size} for name, start, size in members],
        "fields": {name: _value(name, shown) for name in sorted(shown.located.fields)},
    }


def _row_of(shown: ShownExample) -> tuple[int, Any, int]:
    """(shard, row of its index, number of the row)."""
    stops = np.cumsum(shown.source.shard_counts)
    shard = int(np.searchsorted(stops, shown.index, side="right"))
    number = shown.index - int(stops[shard] - shown.source.shard_counts[shard])
    return shard, shown.source.index_of(shard)[number], number


def _said(row: Any) -> list[tuple[str, str]]:
    """The known facts of the media in a row of the index: (name, value)."""
    facts = [("frames", f"{int(row['frames']):,}")]
    if row["rate_numerator"] > 0:
        facts.append(("rate", str(Fraction(int(row["rate_numerator"]), int(row["rate_denominator"])))))
    facts += [(name, f"{int(row[name]):,}") for name in ("width", "height", "channels") if row[name]]
    facts += [("table_offset", f"{int(row['table_offset']):,}")] if row["table_offset"] >= 0 else []
    return [*facts, ("crc32", f"{int(row['crc32']):08x}" if row["flags"] & IndexFlag.HAS_CRC32 else "none")]


def _members(shown: ShownExample, shard: int, offset: int, length: int) -> list[tuple[str, int, int]]:
    """(name, offset, bytes) of each file of the example."""
    read = shown.source.reader_of(shard)
    found = iter_members(read, offset, offset + length, where=shown.located.container, verify=False)
    return [
        (member.name, member.data_start, member.data_length)
        for member in found
        if member.is_file and split_member_name(member.name) is not None
    ]


def _value(name: str, shown: ShownExample) -> Any:
    """A field as a JSON value: for an array its shape and type, for other bytes their number."""
    member = shown.located.fields[name]
    if member.size > MOST_TEXT:
        return f"{member.size:,} bytes"
    content = member.content()
    try:
        if name.endswith("npy"):
            array = load_npy(content)
            return f"array {array.shape} of {array.dtype}"
        return parse_json(content) if name.endswith("json") else content.decode("utf-8")
    except (ValueError, UnicodeDecodeError):
        return f"{member.size:,} bytes"


def _field_lines(name: str, shown: ShownExample) -> Iterator[str]:
    value = _value(name, shown)
    text = value if isinstance(value, str) else _pretty(value)
    lines = text.splitlines() or [""]
    head = f"  {escaped(name):<9}"
    if len(lines) == 1:
        yield f"{head}  {escaped(lines[0])[:2000]}"
        return
    yield head.rstrip()
    for line in lines[:SHOWN_LINES]:
        yield f"    {escaped(line)[:2000]}"
    if len(lines) > SHOWN_LINES:
        yield f"    … and {len(lines) - SHOWN_LINES:,} lines more; --json has all of them."


def _pretty(value: Any) -> str:
    """JSON over several lines, but lists of numbers in one."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return NUMBERS.sub(lambda found: f"[{', '.join(found[1].split())}]".replace(",,", ","), text)
