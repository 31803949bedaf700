"""The packets of a video that is copied without being decoded: a stretch of them from a clean key on, and their times.

Packets are numbered as `measure_video` numbers them, in the order they are stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...decode.errors import UndecodableError
from ...decode.video.av_package import av_errors
from ...decode.video.opened_video import OpenedVideo, positive
from ...sources.located import Member
from ...storage.frame_table import FrameTable, TableFlag

__all__ = [
    "ANY_SIZE",
    "CopiedPackets",
    "PacketTimes",
    "Stretch",
    "opened",
    "scan_packets",
    "sound_packets",
    "video_packets",
]

ANY_SIZE = 1 << 62
NO_TIME = -(1 << 63)
"""In place of a time stamp that a packet has not."""

Times: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Frames [first, stop) of a table, which begin at a clean key; packets [first_packet, stop_packet) make them."""

    first: int
    stop: int
    first_packet: int
    stop_packet: int

    @classmethod
    def of(cls, table: FrameTable, first: int, stop: int, *, end_packet: int) -> Stretch:
        """From the ordinal of one clean key to that of another, or to the end of the video, with all its packets."""
        keys = table.rows["key_packet"]
        return cls(first, stop, int(keys[first]), end_packet if stop == len(table) else int(keys[stop]))


@dataclass(frozen=True, slots=True)
class PacketTimes:
    """Time stamps of every packet of a video as they are stored: (packets,) each, NO_TIME for none.

    Packets from `end_packet` on are hidden: nothing of them is shown.
    """

    pts: Times
    dts: Times
    end_packet: int


@dataclass(frozen=True, slots=True)
class CopiedPackets:
    """What is copied of a stretch: the numbers of its packets, and their times in units of the table's time base.

    What is damaged is left out, and what leans on it. Decoding times are the stored ones if all of them are there and
    rise; else the latest that rise and come before the frames are shown.
    """

    numbers: Times
    pts: Times
    dts: Times

    @classmethod
    def of(cls, table: FrameTable, stored: PacketTimes, stretch: Stretch, *, origin: int) -> CopiedPackets:
        """Those of a stretch; `origin` is the table's time that becomes 0.

        Raises `UndecodableError` where the time of one is not known.
        """
        if stretch.stop_packet > len(stored.pts):
            raise UndecodableError(f"it ends before packet {stretch.stop_packet:,}")
        numbers = _undamaged(table, stretch)
        ordinals = np.full(stretch.stop_packet, -1, np.int64)
        known = table.first_of_packet[: stretch.stop_packet]
        ordinals[: len(known)] = known
        ordinals = ordinals[numbers]
        shown = np.where(ordinals >= 0, table.rows["time"][ordinals], NO_TIME)
        if table.flags & TableFlag.OWN_TIMES:
            pts, dts = stored.pts[numbers], stored.dts[numbers]
            pts = np.where(pts == NO_TIME, shown, pts)
        else:
            pts, dts = shown, np.full(len(numbers), NO_TIME)
        if (pts == NO_TIME).any():
            raise UndecodableError("some of its packets have no time")
        is_known = (dts != NO_TIME).all() and (dts <= pts).all() and (np.diff(dts) > 0).all()
        return cls(numbers, pts - origin, (dts if is_known else _decoding_times(pts)) - origin)


def _undamaged(table: FrameTable, stretch: Stretch) -> Times:
    """The packets that make a frame, and those without one where nothing is damaged from their key packet to them."""
    numbers = np.arange(stretch.first_packet, stretch.stop_packet)
    keys, broken = np.unique(table.rows["key_packet"]), np.sort(table.broken["packet"])
    key_of = keys[np.maximum(np.searchsorted(keys, numbers, side="right") - 1, 0)]
    is_damaged = np.searchsorted(broken, numbers, side="right") > np.searchsorted(broken, key_of)
    return numbers[np.isin(numbers, table.rows["packet"]) | ~is_damaged]


def _decoding_times(pts: Times) -> Times:
    """The latest that rise, and come before the frames are shown."""
    in_order = np.sort(pts)
    return in_order - int((in_order - pts).max(initial=0))


def opened(media: Member) -> OpenedVideo:
    """A video whose frames have been found to be small enough."""
    return OpenedVideo(media, max_pixels=ANY_SIZE)


def scan_packets(media: Member) -> PacketTimes:
    """The times of every packet of the video, by demuxing it."""
    video = opened(media)
    try:
        found = [(packet.pts, packet.dts, packet.is_discard) for packet in video.demux()]
    finally:
        video.close()
    times = np.array([[NO_TIME if one is None else int(one) for one in row] for row in found], np.int64)
    pts, dts, is_hidden = times.reshape(-1, 3).T
    return PacketTimes(pts, dts, int(np.flatnonzero(is_hidden == 0).max(initial=-1)) + 1)


def video_packets(media: Member, table: FrameTable, stretch: Stretch) -> Iterator[tuple[int, Any]]:
    """The packets of a stretch, each with its number. Raises `UndecodableError` where they do not come."""
    video, number = opened(media), stretch.first_packet - 1
    try:
        packets = _from_key(video, table, stretch.first) if stretch.first_packet else None
        if packets is None:
            video.close()
            video, number = opened(media), -1
            packets = video.demux()
        for packet in packets:
            number += 1
            if number >= stretch.stop_packet:
                return
            if number >= stretch.first_packet:
                yield number, packet
    finally:
        video.close()
    if number + 1 < stretch.stop_packet:
        raise UndecodableError(f"it ends before packet {stretch.stop_packet:,}")


def _from_key(video: OpenedVideo, table: FrameTable, ordinal: int) -> Iterator[Any] | None:
    """The packets from the key of a frame on; None where a seek does not lead there."""
    row = table.rows[ordinal]
    position, time = int(row["position"]), int(row["seek"])
    if position < 0 or not _seek(video, time, video.stream):
        return None
    packets = video.demux()
    for packet in packets:
        here = -1 if packet.pos is None else int(packet.pos)
        if here == position and packet.is_keyframe:
            return chain((packet,), packets)
        if here > position:
            return None
    return None


def sound_packets(media: Member, begin: Fraction | None, end: Fraction | None) -> Iterator[Any]:
    """Packets of the first sound track that begin in [begin, end) seconds; None is the start, and the end."""
    video = opened(media)
    try:
        stream = video.container.streams.audio[0]
        base = positive(stream.time_base) or Fraction(1, 1000)
        packets = _sound_from(video, stream, None if begin is None else int(begin / base))
        if packets is None:
            video.close()
            video = opened(media)
            packets = video.demux(video.container.streams.audio[0])
        for packet in packets:
            time = packet.pts if packet.pts is not None else packet.dts
            if time is None or (begin is not None and time * base < begin):
                continue
            if end is not None and time * base >= end:
                return
            yield packet
    finally:
        video.close()


def _sound_from(video: OpenedVideo, stream: Any, time: int | None) -> Iterator[Any] | None:
    """The packets from a time on, and some before it; None where a seek leads too far."""
    if time is None:
        return video.demux(stream)
    if not _seek(video, time, stream):
        return None
    packets = video.demux(stream)
    first = next(packets, None)
    found = None if first is None else first.pts if first.pts is not None else first.dts
    return None if first is None or found is None or found > time else chain((first,), packets)


def _seek(video: OpenedVideo, time: int, stream: Any) -> bool:
    try:
        video.container.seek(time, stream=stream)
    except av_errors():
        return False
    return True
