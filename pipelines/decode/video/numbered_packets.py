"""The packets of a video as its frame table numbers them, from the first or from any key packet on.

stored       key0  1  2  3  key4  5  6        number
go_to(4)     seek ───────▶ key4  5  6         4 5 6: that it is key4 is told by where it lies and by its size
             or read from the first one on, and forget 0 to 3
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from time import monotonic
from typing import Any

from ...sources.located import Member
from ...storage.frame_table import MAX_SIZE, FrameTable, TableFlag
from ..errors import UndecodableError
from .av_package import av_errors
from .frame_counts import FrameCounter
from .opened_video import OpenedVideo

__all__ = ["MISFIT", "MisfitError", "NumberedPackets"]

MISFIT = "its frame table is of another file, or damaged"
WATCHDOG_SECONDS = 600.0


class MisfitError(UndecodableError):
    """What is read of a video is not what its frame table says."""


class NumberedPackets:
    """An open video and its packets; `number` is that of the one that came last, `video` what they are decoded by.

    `may_seek` can be turned off: then it is read from the first packet on. Raises `UndecodableError` where the table is
    that of another video, as far as an open file tells.
    """

    def __init__(
        self, media: Member, table: FrameTable, counter: FrameCounter, *, max_pixels: int | None = None
    ) -> None:
        self._media, self._table, self._counter, self._max_pixels = media, table, counter, max_pixels
        self.may_seek = True
        self.video = self._open()
        self._begin()
        self.start_clock()

    def _open(self) -> OpenedVideo:
        video = OpenedVideo(self._media, max_pixels=self._max_pixels)
        self._counter.add(opened=1)
        head, times = self._table.head, self._table.flags & TableFlag.OWN_TIMES
        if int(video.stream.index) != int(head["stream"]) or (times and video.time_base != self._table.time_base):
            video.close()
            raise MisfitError(MISFIT)
        return video

    def _begin(self) -> None:
        """The next packet is the first one behind where the container stands."""
        self._packets: Iterator[Any] = self.video.demux()
        self.number = -1
        self._must_be_key = False

    def start_clock(self) -> None:
        """From now on, so long may it take."""
        self._deadline = monotonic() + WATCHDOG_SECONDS

    def next(self) -> Any:
        """The next packet; None at the end. Raises `MisfitError` for one that is not as the table says."""
        packet = self._read()
        if packet is None:
            return None
        ordinal = self._table.ordinal_of(self.number)
        if ordinal >= 0 and _size_of(packet) != int(self._table.rows["size"][ordinal]):
            raise MisfitError(f"{MISFIT}: packet {self.number:,} has {packet.size:,} bytes")
        if self._must_be_key and not packet.is_keyframe:
            raise MisfitError(f"{MISFIT}: packet {self.number:,} is no key")
        self._must_be_key = False
        return packet

    def _read(self) -> Any:
        if monotonic() > self._deadline:
            raise UndecodableError(
                f"decoding a clip took more than {WATCHDOG_SECONDS:,.0f} s, and stood at packet {self.number:,}"
            )
        packet = next(self._packets, None)
        self.video.check_reading()
        self.number += packet is not None
        return packet

    def go_to(self, ordinal: int, *, fresh: bool) -> None:
        """Make the key packet of a frame the next one; `fresh` asks for a decoder that has seen nothing."""
        row = self._table.rows[ordinal]
        key = int(row["key_packet"])
        self._counter.add(seeks=1)
        if key and self.may_seek:
            if fresh:
                self._reopen()
            if self._seek(int(row["seek"])) and self._find(key, int(row["seek"]), int(row["position"])):
                self._must_be_key = True
                return
        self._reopen()
        while self.number < key - 1:
            if self._read() is None:
                raise UndecodableError(f"it ends before packet {key:,}, which its frame table has as a key")
        self._must_be_key = key > 0

    def _seek(self, time: int) -> bool:
        try:
            self.video.container.seek(time, stream=self.video.stream)
        except av_errors():
            return False
        self.video.context.flush_buffers()
        self._begin()
        return True

    def _find(self, key: int, seek: int, position: int) -> bool:
        """Read on to a key packet; whether it came. It is put back, to be the next one."""
        by_dts = bool(self._table.flags & TableFlag.SEEK_BY_DTS)
        ordinal = self._table.ordinal_of(key)
        size = int(self._table.rows["size"][ordinal]) if ordinal >= 0 else None
        for _ in range(key + 1):
            packet = self._read()
            if packet is None:
                return False
            found = packet.dts if by_dts else packet.pts
            here = -1 if packet.pos is None else int(packet.pos)
            if (here == position if position >= 0 and here >= 0 else found == seek) and packet.is_keyframe:
                self.number = key - 1
                self._packets = chain((packet,), self._packets)
                return size in (None, _size_of(packet))
            if (here > position >= 0) or (position < 0 and found is not None and found > seek):
                return False
        return False

    def _reopen(self) -> None:
        """Begin at the first packet again, in a fresh container."""
        self.video.close()
        self.video = self._open()
        self._begin()

    def close(self) -> None:
        """Let go of the file and the decoder."""
        self.video.close()


def _size_of(packet: Any) -> int:
    """As a table has it."""
    return min(int(packet.size), MAX_SIZE)
