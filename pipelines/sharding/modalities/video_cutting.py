"""A video cut into segments at key frames, without being encoded again, and proof that nothing was lost.

A segment begins at a clean key frame and is as long as possible up to the wanted number of seconds, but at least as far
as the next one. Each is decoded in a process of its own and compared with the whole, frame by frame; a cut after which
that does not fit is not made.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...decode.errors import UndecodableError
from ...decode.video.measuring_process import checksums_apart
from ...storage.frame_table import FrameFlag, FrameTable, TableFlag
from .spool import Spool, SpooledMedia
from .video_copying import VideoCopier
from .video_packets import Stretch

__all__ = ["Copy", "VideoCutter", "segment_starts"]

MOST_FAILURES = 8
"""Copies of one video that may turn out wrong before it is left whole."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of frames [first, stop) that decodes to them, and its own frame table."""

    first: int
    stop: int
    media: SpooledMedia
    suffix: str
    table: FrameTable


def segment_starts(table: FrameTable, seconds: Fraction) -> list[int]:
    """The ordinals at which segments begin, and at last the number of frames."""
    rows, most, starts = table.rows, seconds / table.time_base, [0]
    is_clean = (rows["flags"] & FrameFlag.CLEAN != 0) & (rows["packet"] == rows["key_packet"])
    places = [*(place for place in np.flatnonzero(is_clean).tolist() if place), len(table)]
    times = [*rows["time"].tolist(), int(table.head["end"])]
    for place, following in pairwise(places):
        if times[following] - times[starts[-1]] > most:
            starts.append(place)
    return [*starts, len(table)]


class VideoCutter:
    """Cuts one video into copies in a spool; `checksums` are those of its frames."""

    def __init__(
        self, copier: VideoCopier, checksums: NDArray[np.uint32], spool: Spool, *, max_pixels: int | None = None
    ) -> None:
        self._copier, self._checksums, self._spool, self._max_pixels = copier, checksums, spool, max_pixels
        self._failures = 0

    def segments(self, seconds: Fraction) -> list[Copy] | None:
        """Its segments, two or more; None where it stays whole."""
        starts = segment_starts(self._copier.table, seconds)
        made: list[Copy] = []
        number = 1
        while number < len(starts):
            first = made[-1].stop if made else 0
            found = self.copy(first, starts[number])
            while found is None:
                if self._failures >= MOST_FAILURES:
                    return None
                if number + 1 < len(starts):
                    number += 1
                elif made:
                    self._spool.drop(made[-1].media)
                    first = made.pop().first
                else:
                    return None
                found = self.copy(first, starts[number])
            made.append(found)
            number += 1
        return made if len(made) > 1 else None

    def copy(self, first: int, stop: int, *, origin: int | None = None) -> Copy | None:
        """A copy of frames [first, stop); None where it does not decode to them."""
        writer, copier = self._spool.writer(), self._copier
        try:
            stretch = Stretch.of(copier.table, first, stop, end_packet=copier.stored.end_packet)
            copier.copy(stretch, writer, origin=origin)
            media = self._spool.keep(writer)
        except UndecodableError:
            self._failures += 1
            return None
        copy = self._checked(first, stop, media, origin)
        if copy is None:
            self._failures += 1
            self._spool.drop(media)
        return copy

    def _checked(self, first: int, stop: int, media: SpooledMedia, origin: int | None) -> Copy | None:
        try:
            table, checksums = checksums_apart(media.member, max_pixels=self._max_pixels)
        except UndecodableError:
            return None
        is_same = np.array_equal(checksums, self._checksums[first:stop]) and not len(table.broken)
        if not is_same or not self._fits(table, first, stop, origin):
            return None
        return Copy(first, stop, media, self._copier.suffix, table)

    def _fits(self, table: FrameTable, first: int, stop: int, origin: int | None) -> bool:
        """Whether a copy is as large and as turned, and each frame is shown when it should be."""
        whole = self._copier.table
        if _picture_of(table) != _picture_of(whole) or not table.flags & TableFlag.OWN_TIMES:
            return False
        times = whole.rows["time"][first:stop]
        wanted = times - (times[0] if origin is None else origin)
        unit = Fraction(0) if whole.time_base % table.time_base == 0 else table.time_base
        return _differ_by(wanted, whole.time_base, table.rows["time"], table.time_base) <= unit


def _picture_of(table: FrameTable) -> tuple[object, ...]:
    return table.size, int(table.head["turns"]), table.pixel_aspect


def _differ_by(
    some: NDArray[np.int64], base: Fraction, others: NDArray[np.int64], other_base: Fraction
) -> Fraction:
    """How far apart times are at most, in seconds."""
    pairs = zip(some.tolist(), others.tolist(), strict=True)
    return max((abs(one * base - other * other_base) for one, other in pairs), default=Fraction(0))
