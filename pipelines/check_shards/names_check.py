"""Comparing `manifest.names.jsonl` with the tars: one line per example, with its key, and no file twice."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sharding.packing import file_key
from ..shown_names import shown_name
from ..storage.json_text import parse_json
from ..storage.keys import KeyMaker
from ..storage.manifest import NAMES_NAME
from ..storage.remote.urls import redacted
from .findings import Findings
from .opened_set import OpenedSet
from .shard_check import CheckedShard, key_hash
from .stored_files import stream_file

__all__ = ["check_keys", "check_names"]

MOST_LINE = 1 << 20
SHOWN = 5
RESTORE = "Restore the file from a copy, or make the shards again with --overwrite."


class _Names:
    """Reads the lines piece by piece; keeps a 64-bit hash of every key and every path."""

    def __init__(self, shown: str, *, cut: bool) -> None:
        self.shown, self.cut = shown, cut
        self.begin()

    def begin(self) -> None:
        """Start again."""
        self.findings = Findings()
        self.keys, self.paths = array("Q"), array("Q")
        self._rest, self._line = b"", 0

    def feed(self, piece: bytes) -> None:
        """The next bytes of the file."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._add(line)
        if len(self._rest) > MOST_LINE:
            self._add(self._rest[:MOST_LINE])
            self._rest = b""

    def finish(self) -> None:
        """End: the last line must be complete."""
        if self._rest:
            self._say("it does not end with a line break: the file was cut off")
            self._add(self._rest)
            self._rest = b""

    def _add(self, line: bytes) -> None:
        self._line += 1
        try:
            pair: Any = parse_json(line.decode("utf-8"))
            if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
                raise ValueError("not a key with a path")
        except (ValueError, RecursionError):
            self._say("it is not a key with a path, in JSON")
            pair = None
        key, path = (f"\0{self._line}", f"\0{self._line}") if pair is None else pair
        if pair is not None and not _follows(key, path, cut=self.cut):
            self._say(f"the key {shown_name(key)} does not follow from the path {shown_name(path)}", key=key)
        self.keys.append(key_hash(key))
        self.paths.append(key_hash(f"{path}\0{key.rpartition('-')[2]}" if self.cut else path))

    def _say(self, reason: str, *, key: str | None = None) -> None:
        self.findings.add("damaged-names", self.shown, f"Line {self._line:,}: {reason}. {RESTORE}", key=key)


def _follows(key: str, path: str, *, cut: bool) -> bool:
    """Whether packing can give a file this key: its path without the suffix, with `~2` if another file had that key."""
    base = KeyMaker().key(path)
    of_file = file_key(key) if cut else key
    stem, mark, number = of_file.rpartition("~")
    return of_file == base or (bool(mark) and stem == base and number.isdigit())


def check_names(opened: OpenedSet, shards: Sequence[CheckedShard], *, stop: threading.Event) -> None:
    """Add the faults of the names to the findings of a set. Raises `SourceError` if the names cannot be read."""
    manifest = opened.manifest
    assert manifest is not None, "without a manifest there are no names"
    name = opened.place(NAMES_NAME)
    names = _Names(redacted(name), cut=manifest.settings.get("segment") is not None)
    if not stream_file(opened.store, name, names.feed, restart=names.begin, stop=stop):
        if manifest.listing:
            opened.findings.add("missing-names", names.shown, f"There is no such file. {RESTORE}")
        return
    names.finish()
    opened.findings.extend(names.findings)
    keys = np.frombuffer(names.keys, np.uint64) if names.keys else np.empty(0, np.uint64)
    due = sum(map(_num_due, shards))
    if len(keys) != due:
        opened.findings.add("wrong-names", names.shown, f"{len(keys):,} lines for {due:,} examples. {RESTORE}")
    _compare_keys(opened, keys, shards, names.shown)
    _find_twice(opened, names, shown=names.shown)


def _compare_keys(opened: OpenedSet, keys: NDArray[np.uint64], shards: Sequence[CheckedShard], shown: str) -> None:
    """Compare line by line with the keys of the tars; tars that differ from the manifest are skipped."""
    line, said = 0, 0
    for one in shards:
        is_sound, due = _is_sound(one), _num_due(one)
        found = keys[line : line + due]
        if is_sound and len(found):
            wrong = np.flatnonzero(found != one.key_hashes[: len(found)])
            for number in wrong[: SHOWN - said].tolist():
                opened.findings.add(
                    "wrong-names",
                    shown,
                    f"Line {line + number + 1:,} has not the key of example {number:,} of {one.shard.name}. {RESTORE}",
                )
            num_said = min(len(wrong), SHOWN - said)
            said += num_said
            opened.findings.count("wrong-names", len(wrong) - num_said)
        line += due


def _is_sound(one: CheckedShard) -> bool:
    """Whether the examples of a shard can be compared: the tar is whole, and is the one of the manifest."""
    return one.is_there and not one.error and one.fault is None and (one.tar_is_right or not one.shard.sha256)


def _num_due(one: CheckedShard) -> int:
    """The examples of a sound shard, or else their number in the manifest."""
    return one.num_examples if _is_sound(one) or one.shard.examples is None else one.shard.examples


def _find_twice(opened: OpenedSet, names: _Names, *, shown: str) -> None:
    if not names.paths:
        return
    paths = np.frombuffer(names.paths, np.uint64)
    for line, first in _twice(paths):
        opened.findings.add(
            "duplicate-names",
            shown,
            f"Line {line + 1:,} names the same file as line {first + 1:,}. {RESTORE}",
        )


def _twice(values: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """(place, place of the first equal value) of the first few repeated values."""
    order = np.argsort(values, kind="stable")
    same = np.flatnonzero(values[order][1:] == values[order][:-1])
    return [(int(order[place + 1]), int(order[place])) for place in same[:SHOWN].tolist()]


def check_keys(opened: OpenedSet, shards: Sequence[CheckedShard]) -> None:
    """Add a finding for the first few keys that two examples of the set share."""
    there = [one for one in shards if one.num_examples]
    if not there:
        return
    keys = np.concatenate([one.key_hashes for one in there])
    stops = np.cumsum([one.num_examples for one in there])
    is_swapped = any("swapped-tar" in one.findings for one in there)
    for place, first in [] if is_swapped else _twice(keys):
        shard, number = _place_of(place, stops)
        other, earlier = _place_of(first, stops)
        opened.findings.add(
            "duplicate-keys",
            there[shard].shard.shown,
            f"Example {number:,} has the key of example {earlier:,} of {there[other].shard.name}. Pack one of "
            "them under another name.",
            offset=int(there[shard].offsets[number]),
            severity=None if opened.manifest is not None else "remark",
        )


def _place_of(place: int, stops: NDArray[np.int64]) -> tuple[int, int]:
    """The shard of an example, and its number in this shard."""
    shard = int(np.searchsorted(stops, place, side="right"))
    return shard, place - (int(stops[shard - 1]) if shard else 0)
