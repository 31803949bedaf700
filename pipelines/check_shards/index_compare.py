"""Comparing an index with the examples that a walk of its tar finds, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShardError
from ..storage.frame_table import FrameRows, FrameTable
from ..storage.index import Index, IndexFlag
from ..storage.media_types import media_names, media_suffix
from .tar_walk import WalkedExample, WalkedMember

__all__ = ["IndexComparison", "frames_fault", "media_candidates"]

ROWS_AT_ONCE = 4096
SHOWN = 5
HAS_CRC32, HAS_FIELDS = int(IndexFlag.HAS_CRC32), int(IndexFlag.HAS_FIELDS)  # plain numbers are quicker
COLUMNS = ("offset", "length", "data_offset", "data_length", "flags", "crc32")


def media_candidates(members: list[WalkedMember]) -> list[WalkedMember]:
    """The members that may be the media, the likeliest first.

    Packing writes the media after the fields. In tars of other programs it is the first member with the suffix of a
    media file, or else the largest member.
    """
    if len(members) == 1:
        return members
    names = media_names()
    known = [one for one in members if media_suffix("." + one.suffix) in names]
    return [*known[:1], members[-1], max(members, key=lambda one: one.data_length)]


class IndexComparison:
    """Counts the differences between the rows of an index and the examples of its tar; without an index, none.

    misfits      examples at another place than their row says
    num_changed  examples whose bytes do not have the CRC-32 of their row; `changed` has the first few of them
    """

    def __init__(self, index: Index | None) -> None:
        self.index = index
        self.misfits = 0
        self.num_changed = 0
        self.changed: list[WalkedExample] = []
        self.has_checksums = False
        self._rows: list[tuple[int, ...]] = []
        self._first = 0

    def add(self, example: WalkedExample) -> tuple[int, int]:
        """Compare the next example. Returns the span of its media: (offset, bytes)."""
        row = self._row(example.number)
        candidates = media_candidates(example.members)
        if row is None:
            self.misfits += self.index is not None
            return candidates[0].data_offset, candidates[0].data_length
        offset, length, data_offset, data_length, flags, crc32 = row
        spans = [(one.data_offset, one.data_length) for one in candidates]
        media = (data_offset, data_length)
        fits_fields = bool(flags & HAS_FIELDS) == (len(example.members) > 1)
        if (
            (offset, length) != (example.offset, example.stop - example.offset)
            or media not in spans
            or not fits_fields
        ):
            self.misfits += 1
            return spans[0]
        if flags & HAS_CRC32:
            self.has_checksums = True
            if crc32 != example.crc32:
                self.num_changed += 1
                if len(self.changed) < SHOWN:
                    self.changed.append(example)
        return media

    def _row(self, number: int) -> tuple[int, ...] | None:
        if self.index is None or number >= len(self.index):
            return None
        if not self._first <= number < self._first + len(self._rows):
            self._first = number
            block: Any = self.index[number : number + ROWS_AT_ONCE]
            self._rows = list(zip(*(block[name].tolist() for name in COLUMNS), strict=True))
        return self._rows[number - self._first]

    def finish(self, num_examples: int) -> None:
        """End the comparison: rows beyond the last example are misfits."""
        if self.index is not None:
            self.misfits += max(0, len(self.index) - num_examples)

    @property
    def agrees(self) -> bool:
        """Whether there is an index without differences."""
        return self.index is not None and not self.misfits and not self.num_changed


def frames_fault(index: Index, rows: FrameRows, shown: str) -> str:
    """The first fault of the frame tables that an index names, as a part of a sentence; empty if there is none."""
    offsets: NDArray[np.int64] = np.asarray(index["table_offset"])
    due = 0
    for number in np.flatnonzero(offsets >= 0).tolist():
        try:
            table = FrameTable.at(rows, int(offsets[number]), shown)
        except ShardError as error:
            return str(error).removeprefix(f"{shown}: ").partition(". ")[0]
        if int(offsets[number]) != due:
            return f"the frames of example {number:,} do not begin where those before them end"
        if len(table) != int(index[number]["frames"]):
            stated = int(index[number]["frames"])
            return f"it has {len(table):,} frames for example {number:,}, and the index {stated:,}"
        due += len(table.to_rows())
    return "" if due == len(rows) else f"{len(rows) - due:,} of its rows belong to no example"
