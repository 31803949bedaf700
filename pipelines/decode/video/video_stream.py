"""One video, open: its frames by their ordinals, decoded from the last key on and no further than needed.

ordinals     k ─ ─ ─ s ═════════ e ─ ─      k: the last key at or before the clip's first frame s
fed          nonref  │ default   │          frames that no other needs are skipped before s
                     └─ delivered┘ then drained, or left where it stands for the next clip

A video with damage is read with care: by a fresh decoder after every seek, and nothing is skipped, because decoders
conceal damage by what they happen to remember, and do not always say so. What comes is compared with the table: the
sizes of packets, and the times of frames where they are the file's own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from time import monotonic
from typing import Any

import numpy as np

from ...sources.located import Member
from ...storage.frame_table import MAX_SIZE, FrameTable, TableFlag
from ..errors import UndecodableError
from .av_package import av_errors
from .frame_counts import FrameCounter
from .opened_video import OpenedVideo
from .whole_video import turns_of

__all__ = ["VideoStream"]

MOST_PACKETS, MOST_PIXELS = 1 << 20, 1 << 40
"""Of what is decoded for one clip."""

WATCHDOG_SECONDS = 600.0
SEEK_FRAMES = 8
"""A key that is no further ahead is reached by decoding on: a seek throws away what waits to be put in order."""

KEPT_BYTES = 32 << 20
"""Of decoded frames, for clips that overlap."""

MISFIT = "its frame table is of another file, or damaged"


class VideoStream:
    """An open video and its frame table; `position` is the ordinal of the frame that is decoded next.

    Used by one thread at a time. `keep` is how many decoded frames are kept for a clip that begins before the last one
    ended. Raises `UndecodableError` where the table is that of another video.
    """

    def __init__(
        self,
        media: Member,
        table: FrameTable,
        counter: FrameCounter,
        *,
        keep: int = 0,
        max_pixels: int | None = None,
    ) -> None:
        self._table, self._media, self._counter, self._max_pixels = table, media, counter, max_pixels
        self._video = self._open()
        pixels = max(1, self._video.context.width * self._video.context.height)
        self.num_bytes = (1 << 20) + 12 * pixels  # some reference frames of 1.5 bytes per pixel
        self._frame_bytes = 2 * pixels
        self._kept: deque[tuple[int, Any]] = deque(maxlen=max(0, min(keep, KEPT_BYTES // self._frame_bytes)))
        self._is_full, self._skip_frame, self._must_be_key = False, "DEFAULT", False
        self._packets = self._demux()
        self._fed = -1  # the number of the packet that was fed last
        self._waiting: deque[tuple[int, Any]] = deque()  # frames that came out and were not asked for yet
        self._can_go_on = True
        self._is_careful = len(table.damage) > 0
        self._first_damaged = -1  # of the damaged packets that this decoder was fed; -1: none
        self._last_made_by, self._repeat = -1, 0
        self._num_decoded = self._num_skipped = 0
        self.position = 0
        try:
            self._compare_first()
        except BaseException:
            self.close()
            raise

    def _open(self) -> OpenedVideo:
        """The video, which must be the one that the table is of, as far as an open file tells."""
        video = OpenedVideo(self._media, max_pixels=self._max_pixels)
        self._counter.add(opened=1)
        head, times = self._table.head, self._table.flags & TableFlag.OWN_TIMES
        if int(video.stream.index) != int(head["stream"]) or (times and video.time_base != self._table.time_base):
            video.close()
            raise UndecodableError(MISFIT)
        return video

    def _compare_first(self) -> None:
        """Decode the first frame, where the file says another size than the table: it is that of the first frame."""
        context, head = self._video.context, self._table.head
        if len(self._table) and (context.width, context.height) != (int(head["width"]), int(head["height"])):
            for _ in self.frames([0], drain=False):
                pass

    def frames(self, ordinals: Sequence[int], *, drain: bool) -> Iterator[tuple[int, Any]]:
        """The frames of these ordinals, which rise, each with its own.

        `drain` gives up the place of the decoder as soon as all of them are fed, so that no frame behind is decoded.
        Raises `UndecodableError` where one of them does not come.
        """
        self._deadline = monotonic() + WATCHDOG_SECONDS
        try:
            yield from self._frames(ordinals, drain=drain)
        finally:
            self._counter.add(decoded=self._num_decoded, skipped=self._num_skipped)
            self._num_decoded = self._num_skipped = 0

    def _frames(self, ordinals: Sequence[int], *, drain: bool) -> Iterator[tuple[int, Any]]:
        begun = 0
        while begun < len(ordinals) and (kept := self._from_kept(ordinals[begun])) is not None:
            yield ordinals[begun], kept
            begun += 1
        for run in self._without_damage(ordinals[begun:]):
            yield from self._run(run, drain=drain)

    def _without_damage(self, ordinals: Sequence[int]) -> list[Sequence[int]]:
        """Cut where damage lies between the keys of two frames: a fresh decoder begins there."""
        if not len(self._table.damage) or not ordinals:
            return [ordinals] if ordinals else []
        num_before = np.searchsorted(self._table.damage, self._table.rows["key_packet"][np.array(ordinals)])
        cuts = [0, *(np.flatnonzero(np.diff(num_before)) + 1).tolist(), len(ordinals)]
        return [ordinals[begin:end] for begin, end in pairwise(cuts)]

    def _run(self, ordinals: Sequence[int], *, drain: bool) -> Iterator[tuple[int, Any]]:
        wanted = deque(ordinals)
        if not self._continues(wanted[0]):
            self._go_to(wanted[0])
        last_needed = int(self._table.rows["packet"][np.array(wanted)].max())
        start, num_lead = wanted[0], 0
        expected = start - self.position
        for ordinal, frame in self._decode_on(start, last_needed, drain=drain):
            self.position = ordinal + 1
            num_lead += ordinal < start
            if ordinal >= start and expected >= 0:
                self._num_skipped, expected = self._num_skipped + max(0, expected - num_lead), -1
            if self._kept.maxlen:
                self._kept.append((ordinal, frame))
            while wanted and wanted[0] < ordinal:
                raise self._lost(wanted[0])
            if wanted and wanted[0] == ordinal:
                yield wanted.popleft(), frame
            if not wanted:
                return
        raise self._lost(wanted[0])

    def _lost(self, ordinal: int) -> UndecodableError:
        self._can_go_on = False
        seconds = float(self._table.seconds(np.array([ordinal]))[0])
        return UndecodableError(f"its frame {ordinal:,} at {seconds:.3f} s does not come out of the decoder")

    def _from_kept(self, ordinal: int) -> Any:
        return next((frame for kept, frame in self._kept if kept == ordinal), None)

    def _continues(self, ordinal: int) -> bool:
        """Whether decoding on from here is how to get to a frame."""
        if not self._can_go_on or ordinal < self.position or self._would_spoil(ordinal):
            return False
        return self._table.key_ordinal(ordinal) - self.position <= SEEK_FRAMES

    def _would_spoil(self, ordinal: int) -> bool:
        """Whether the decoder has seen damage before a frame's key packet, or would on the way to it."""
        key, damage = int(self._table.rows["key_packet"][ordinal]), self._table.damage
        if 0 <= self._first_damaged < key:
            return True
        place = int(np.searchsorted(damage, self._fed, side="right"))
        return place < len(damage) and int(damage[place]) < key

    def _check_costs(self, num_packets: int) -> None:
        if num_packets > MOST_PACKETS or num_packets * self._frame_bytes > 2 * MOST_PIXELS:
            raise UndecodableError(
                f"{num_packets:,} packets would have to be decoded for a clip, from the last key frame on: pack the "
                "video again with more of them (--gop)"
            )

    def _decode_on(self, start: int, last_needed: int, *, drain: bool) -> Iterator[tuple[int, Any]]:
        """Frames in output order, until the decoder has no more or `drain` says that all that is needed was fed."""
        self._check_costs(last_needed - self._fed)
        while self._waiting:
            yield self._waiting.popleft()
        threshold = self._full_from(start)
        drain = drain and self._video.may_drain and not self._is_careful
        while not (drain and self._fed >= last_needed):
            packet = self._next_packet()
            if packet is None:
                break
            if not packet.size:
                continue
            self._compare(packet)
            self._skip(is_lead=self._fed < threshold)
            packet.opaque = [self._fed]
            try:
                found = self._video.context.decode(packet)
            except av_errors():
                found = []  # damaged, and its table says so: what is wanted comes all the same
                if self._fed >= last_needed:
                    break
            yield from self._numbered(found)
        self._can_go_on = False
        yield from self._numbered(self._drained())

    def _compare(self, packet: Any) -> None:
        """Compare what is fed next with the table, and note whether that has it as damaged."""
        table, number = self._table, self._fed
        ordinal = table.ordinal_of(number)
        if ordinal >= 0 and min(int(packet.size), MAX_SIZE) != int(table.rows["size"][ordinal]):
            raise UndecodableError(f"{MISFIT}: packet {number:,} has {packet.size:,} bytes")
        if self._must_be_key and not packet.is_keyframe:
            raise UndecodableError(f"{MISFIT}: packet {number:,} is no key")
        self._must_be_key = False
        if self._first_damaged < 0 and len(table.damage):
            place = int(np.searchsorted(table.damage, number))
            if place < len(table.damage) and int(table.damage[place]) == number:
                self._first_damaged = number

    def _full_from(self, start: int) -> int:
        """The first packet that any frame from an ordinal on is made of; before it, frames may be skipped."""
        return int(self._table.earliest_packet[start])

    def _next_packet(self) -> Any:
        """The next packet of the stream, numbered in `_fed`; None at the end."""
        if monotonic() > self._deadline:
            raise UndecodableError(
                f"decoding a clip took more than {WATCHDOG_SECONDS:.0f} s; it stands at packet {self._fed:,}, frame "
                f"{self.position:,}"
            )
        try:
            packet = next(self._packets, None)
            while packet is not None and not packet.size and packet.pts is None and packet.dts is None:
                packet = next(self._packets, None)  # the end, which PyAV marks so
        except av_errors():
            packet = None
        self._video.check_reading()
        self._fed += packet is not None
        return packet

    def _skip(self, *, is_lead: bool) -> None:
        may_skip = self._video.may_skip and not self._is_full and not self._is_careful
        wanted = "NONREF" if is_lead and may_skip else "DEFAULT"
        if wanted == "DEFAULT":
            self._is_full = True  # skipping once more would lose frames
        if wanted != self._skip_frame:
            self._video.context.skip_frame = self._skip_frame = wanted

    def _numbered(self, found: list[Any]) -> Iterator[tuple[int, Any]]:
        """Frames that came out, with their ordinals; those that are not in the table are passed over."""
        self._num_decoded += len(found)
        for frame in found:
            ordinal = self._ordinal_of(frame)
            if ordinal >= 0:
                self._compare_frame(ordinal, frame)
                self._waiting.append((ordinal, frame))
        while self._waiting:
            yield self._waiting.popleft()

    def _drained(self) -> list[Any]:
        try:
            return list(self._video.context.decode(None))
        except av_errors():
            return []

    def _ordinal_of(self, frame: Any) -> int:
        """Where a frame stands in the table; -1 where it is no frame of it (one that is damaged)."""
        made_by = self._video.packet_of(frame, self._fed)
        self._repeat = self._repeat + 1 if made_by == self._last_made_by else 0
        self._last_made_by = made_by
        ordinal = self._table.ordinal_of(made_by)
        if ordinal < 0:
            return -1
        ordinal += self._repeat
        return ordinal if ordinal < len(self._table) else -1

    def _compare_frame(self, ordinal: int, frame: Any) -> None:
        """Compare a frame with the table, which says its time, its size and how it is turned."""
        head, row = self._table.head, self._table.rows[ordinal]
        if self._table.flags & TableFlag.OWN_TIMES and frame.pts is not None and frame.pts != int(row["time"]):
            raise UndecodableError(f"{MISFIT}: frame {ordinal:,} has another time")
        if ordinal == 0 and (frame.width, frame.height, turns_of(frame)) != tuple(
            int(head[name]) for name in ("width", "height", "turns")
        ):
            raise UndecodableError(f"{MISFIT}: frame 0 has {frame.width:,} × {frame.height:,} pixels")

    def _go_to(self, ordinal: int) -> None:
        """Seek to the last key at or before a frame; its packet is the next to be fed."""
        row = self._table.rows[ordinal]
        key, seek, position = int(row["key_packet"]), int(row["seek"]), int(row["position"])
        self._check_costs(int(row["packet"]) - key)
        self._counter.add(seeks=1)
        self._kept.clear()
        self.position = self._table.key_ordinal(ordinal)
        self._must_be_key = key > 0
        if key and self._is_careful:
            self._restart()
        if key and self._seek(seek) and self._find(key, seek, position):
            return
        self._restart()
        while self._fed < key - 1:
            if self._next_packet() is None:
                raise UndecodableError(f"it ends before packet {key:,}, which its frame table has as a key")

    def _seek(self, time: int) -> bool:
        try:
            self._video.container.seek(time, stream=self._video.stream)
        except av_errors():
            return False
        self._forget_place()
        return True

    def _find(self, key: int, seek: int, position: int) -> bool:
        """Read on to a key packet; whether it came. It is put back, to be fed next."""
        by_dts = bool(self._table.flags & TableFlag.SEEK_BY_DTS)
        for _ in range(key + 1):
            packet = self._next_packet()
            if packet is None:
                return False
            found = packet.dts if by_dts else packet.pts
            here = -1 if packet.pos is None else int(packet.pos)
            if (here == position if position >= 0 and here >= 0 else found == seek) and packet.is_keyframe:
                self._fed = key - 1
                self._packets = _put_back(packet, self._packets)
                return True
            if (here > position >= 0) or (position < 0 and found is not None and found > seek):
                return False
        return False

    def _restart(self) -> None:
        """Begin at the first packet again, in a fresh container."""
        self._video.close()
        self._video = self._open()
        self._first_damaged = -1
        self._forget_place()

    def _forget_place(self) -> None:
        self._video.context.flush_buffers()
        self._packets, self._fed = self._demux(), -1
        self._waiting.clear()
        self._last_made_by, self._repeat = -1, 0
        self._can_go_on = True

    def _demux(self) -> Iterator[Any]:
        self._is_full, self._skip_frame = False, "DEFAULT"
        self._video.context.skip_frame = "DEFAULT"
        packets: Iterator[Any] = self._video.container.demux(self._video.stream)
        return packets

    def close(self) -> None:
        """Let go of the file and the decoder."""
        self._waiting.clear()
        self._kept.clear()
        self._video.close()


def _put_back(packet: Any, packets: Iterator[Any]) -> Iterator[Any]:
    yield packet
    yield from packets
