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
from typing import Any

import numpy as np

from ...sources.located import Member
from ...storage.frame_table import FrameTable, TableFlag
from ..errors import UndecodableError
from .av_package import av_errors
from .frame_counts import FrameCounter
from .numbered_packets import MISFIT, MisfitError, NumberedPackets
from .whole_video import turns_of

__all__ = ["VideoStream"]

MOST_PACKETS, MOST_PIXELS = 1 << 20, 1 << 40
"""Of what is decoded for one clip."""

SEEK_FRAMES = 8
"""A key that is no further ahead is reached by decoding on: a seek throws away what waits to be put in order."""

KEPT_BYTES = 32 << 20
"""Of decoded frames, for clips that overlap."""

TRUE_TIMES = ("mov", "matroska")
"""Readers that give a frame the same time however they came to it."""


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
        self._table, self._counter = table, counter
        self._packets = NumberedPackets(media, table, counter, max_pixels=max_pixels)
        pixels = max(1, self._context.width * self._context.height)
        self.num_bytes = (1 << 20) + 12 * pixels  # some reference frames of 1.5 bytes per pixel
        self._frame_bytes = 2 * pixels
        self._kept: deque[tuple[int, Any]] = deque(maxlen=max(0, min(keep, KEPT_BYTES // self._frame_bytes)))
        self._waiting: deque[tuple[int, Any]] = deque()  # frames that came out and were not asked for yet
        self._is_careful = len(table.damage) > 0
        self._num_decoded = self._num_skipped = 0
        self.position = 0
        self._begin()
        try:
            self._compare_first()
        except BaseException:
            self.close()
            raise

    @property
    def _context(self) -> Any:
        return self._packets.video.context

    def _begin(self) -> None:
        """With a decoder that was flushed, or is a fresh one."""
        self._waiting.clear()
        self._is_full, self._skip_frame = False, "DEFAULT"
        self._context.skip_frame = "DEFAULT"
        self._last_made_by, self._repeat = -1, 0
        self._first_damaged = -1  # of the damaged packets that this decoder was fed; -1: none
        self._can_go_on = True

    def _compare_first(self) -> None:
        """Decode the first frame, where the file says another size than the table: it is that of the first frame."""
        head = self._table.head
        said = self._context.width, self._context.height
        if len(self._table) and said != (int(head["width"]), int(head["height"])):
            for _ in self.frames([0], drain=False):
                pass

    def frames(self, ordinals: Sequence[int], *, drain: bool) -> Iterator[tuple[int, Any]]:
        """The frames of these ordinals, which rise, each with its own.

        `drain` gives up the place of the decoder as soon as all of them are fed, so that no frame behind is decoded.
        Raises `UndecodableError` where one of them does not come.
        """
        self._packets.start_clock()
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
            wanted = deque(run)
            try:
                yield from self._run(wanted, drain=drain)
            except MisfitError:
                if not self._packets.may_seek:
                    raise
                self._packets.may_seek = self._can_go_on = False  # the file may be read otherwise after a seek
                yield from self._run(wanted, drain=drain)

    def _without_damage(self, ordinals: Sequence[int]) -> list[Sequence[int]]:
        """Cut where damage lies between the keys of two frames: a fresh decoder begins there."""
        if not len(self._table.damage) or not ordinals:
            return [ordinals] if ordinals else []
        num_before = np.searchsorted(self._table.damage, self._table.rows["key_packet"][np.array(ordinals)])
        cuts = [0, *(np.flatnonzero(np.diff(num_before)) + 1).tolist(), len(ordinals)]
        return [ordinals[begin:end] for begin, end in pairwise(cuts)]

    def _run(self, wanted: deque[int], *, drain: bool) -> Iterator[tuple[int, Any]]:
        """Frames between which no damage lies; each leaves `wanted` when it comes."""
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
            if wanted and wanted[0] < ordinal:
                raise self._lost(wanted[0])
            if wanted and wanted[0] == ordinal:
                yield wanted.popleft(), frame
            if not wanted:
                return
        raise self._lost(wanted[0])

    def _lost(self, ordinal: int) -> UndecodableError:
        self._can_go_on = False
        seconds = float(self._table.seconds(np.array([ordinal]))[0])
        return MisfitError(f"its frame {ordinal:,} at {seconds:.3f} s does not come out of the decoder")

    def _from_kept(self, ordinal: int) -> Any:
        return next((frame for kept, frame in self._kept if kept == ordinal), None)

    def _continues(self, ordinal: int) -> bool:
        """Whether decoding on from here is how to get to a frame."""
        if not self._can_go_on or ordinal < self.position or self._would_spoil(ordinal):
            return False
        return self._table.key_ordinal(ordinal) - self.position <= SEEK_FRAMES

    def _would_spoil(self, ordinal: int) -> bool:
        """Whether the decoder has seen damage before a frame's key packet, or would on the way to it."""
        key = int(self._table.rows["key_packet"][ordinal])
        return 0 <= self._first_damaged < key or 0 <= self._next_damaged(self._packets.number + 1) < key

    def _next_damaged(self, packet: int) -> int:
        """The first damaged packet from one on; -1: there is none."""
        damage = self._table.damage
        place = int(np.searchsorted(damage, packet))
        return int(damage[place]) if place < len(damage) else -1

    def _check_costs(self, num_packets: int) -> None:
        if num_packets > MOST_PACKETS or num_packets * self._frame_bytes > 2 * MOST_PIXELS:
            raise UndecodableError(
                f"{num_packets:,} packets would have to be decoded for a clip, from the last key frame on: pack the "
                "video again with more of them (--gop)"
            )

    def _go_to(self, ordinal: int) -> None:
        """Make the last key packet at or before a frame the next to be fed."""
        row = self._table.rows[ordinal]
        self._check_costs(int(row["packet"]) - int(row["key_packet"]))
        self._kept.clear()
        self.position = self._table.key_ordinal(ordinal)
        self._packets.go_to(ordinal, fresh=self._is_careful)
        self._begin()

    def _decode_on(self, start: int, last_needed: int, *, drain: bool) -> Iterator[tuple[int, Any]]:
        """Frames in output order, until the decoder has no more or `drain` says that all that is needed was fed."""
        self._check_costs(last_needed - self._packets.number)
        while self._waiting:
            yield self._waiting.popleft()
        threshold = int(self._table.earliest_packet[start])  # before it, frames that no other needs may be skipped
        drain = drain and self._packets.video.may_drain and not self._is_careful
        while not (drain and self._packets.number >= last_needed):
            packet = self._packets.next()
            if packet is None:
                break
            if not packet.size:
                continue
            if packet.is_keyframe and self._first_damaged >= 0:
                break  # frames from this key on are a fresh decoder's, as they were when they were measured
            yield from self._numbered(self._fed(packet, is_lead=self._packets.number < threshold))
        self._can_go_on = False
        yield from self._numbered(self._drained())

    def _fed(self, packet: Any, *, is_lead: bool) -> list[Any]:
        """What comes out of the decoder for a packet; nothing where it is damaged, of which the table says so."""
        number = self._packets.number
        if self._first_damaged < 0 and self._next_damaged(number) == number:
            self._first_damaged = number
        self._skip(is_lead=is_lead)
        packet.opaque = [number]
        try:
            return list(self._context.decode(packet))
        except av_errors():
            return []

    def _drained(self) -> list[Any]:
        try:
            return list(self._context.decode(None))
        except av_errors():
            return []

    def _skip(self, *, is_lead: bool) -> None:
        may_skip = self._packets.video.may_skip and not self._is_full and not self._is_careful
        wanted = "NONREF" if is_lead and may_skip else "DEFAULT"
        if wanted == "DEFAULT":
            self._is_full = True  # skipping once more would lose frames
        if wanted != self._skip_frame:
            self._context.skip_frame = self._skip_frame = wanted

    def _numbered(self, found: list[Any]) -> Iterator[tuple[int, Any]]:
        """Frames that came out, with their ordinals; those that are not in the table are passed over."""
        self._num_decoded += len(found)
        for frame in found:
            ordinal = self._ordinal_of(frame)
            if ordinal >= 0:
                self._compare(ordinal, frame)
                self._waiting.append((ordinal, frame))
        while self._waiting:
            yield self._waiting.popleft()

    def _ordinal_of(self, frame: Any) -> int:
        """Where a frame stands in the table; -1 where it is no frame of it (one that is damaged)."""
        made_by = self._packets.video.packet_of(frame, self._packets.number)
        self._repeat = self._repeat + 1 if made_by == self._last_made_by else 0
        self._last_made_by = made_by
        first = self._table.ordinal_of(made_by)
        return first + self._repeat if 0 <= first < len(self._table) - self._repeat else -1

    def _compare(self, ordinal: int, frame: Any) -> None:
        """With the table, which has the time of each frame, and what the first one looks like."""
        head, time = self._table.head, int(self._table.rows["time"][ordinal])
        has_times = self._table.flags & TableFlag.OWN_TIMES and self._packets.video.demuxer in TRUE_TIMES
        if has_times and frame.pts is not None and frame.pts != time:
            raise MisfitError(f"{MISFIT}: frame {ordinal:,} has another time")
        looks = frame.width, frame.height, turns_of(frame)
        if ordinal == 0 and looks != (int(head["width"]), int(head["height"]), int(head["turns"])):
            raise MisfitError(f"{MISFIT}: frame 0 has {frame.width:,} × {frame.height:,} pixels")

    def close(self) -> None:
        """Let go of the file and the decoder."""
        self._waiting.clear()
        self._kept.clear()
        self._packets.close()
