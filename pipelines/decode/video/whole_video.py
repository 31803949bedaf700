"""All of a video, demuxed and decoded once: its packets, and the frames that come out, in the order they come.

Every packet is numbered, and the decoder says of each frame which packet made it, so nothing here depends on time
stamps. Behind damage a fresh decoder begins at the next key packet: one that has seen a damaged picture may spoil
frames that have nothing to do with it, flushed or not (FFmpeg's for H.264 does).

    packets    key  ·  ·  damaged  ·  ·  key  ·  ·
    decoder    first ─────────────────▶│ fresh ────▶
    frames     good good  broken ······  good good
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ...sources.located import Member
from ...storage.frame_table import MAX_PACKETS
from ..errors import UndecodableError
from ..image.limits import check_pixels
from .av_package import av_errors
from .frame_checksums import frame_crc32
from .opened_video import OpenedVideo

__all__ = ["Decoded", "Packets", "Picture", "WholeVideo"]

FREE_PIXELS, PIXELS_A_BYTE = 1 << 31, 1 << 17
"""How many pixels a video may decode to: so many anyway, and so many for each of its bytes. A black 4K video has
80,000 per byte."""

FREE_PACKETS, BYTES_A_PACKET = 1 << 16, 8
"""How many packets a video may have: so many anyway, and one for so many of its bytes. A header can promise any number
of empty ones; real ones have 16 bytes and more."""

MOST_RENEWALS = 256
"""Fresh decoders for one video. What lies behind more damage than that is not decoded."""

INVENTED_TIMES = ("avi",)
"""Readers that make up when frames are shown."""

LEANING = (2, 3, 4)  # P, B and S
"""Kinds of pictures that need others. A key packet whose picture is one of these is none, whatever its file says."""


@dataclass(slots=True)
class Packets:
    """Of each packet of a stream, in the order they are stored: all lists have one entry per packet.

    Frames from a `damaged` packet to the next key lean on it; of a `lost` one only its own frame cannot be decoded.
    """

    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    position: list[int] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    is_key: list[bool] = field(default_factory=list)
    is_shown: list[bool] = field(default_factory=list)
    damaged: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)

    def add(self, packet: Any) -> int:
        """Number a packet."""
        self.pts.append(packet.pts)
        self.dts.append(packet.dts)
        self.position.append(-1 if packet.pos is None else int(packet.pos))
        self.size.append(int(packet.size))
        self.is_key.append(bool(packet.is_keyframe))
        self.is_shown.append(not packet.is_discard)
        return len(self.pts) - 1

    def __len__(self) -> int:
        return len(self.pts)


@dataclass(frozen=True, slots=True)
class Picture:
    """What a frame looks like: as stored, (height, width) in pixels, quarter turns that make it upright, channels."""

    height: int
    width: int
    turns: int
    channels: int

    @classmethod
    def of(cls, frame: Any) -> Picture:
        """That of a frame of PyAV."""
        channels = 1 if len(frame.format.components) < 3 else 3
        return cls(int(frame.height), int(frame.width), turns_of(frame), channels)


def turns_of(frame: Any) -> int:
    """Quarter turns against the clock that make a frame of PyAV upright."""
    degrees = float(frame.rotation or 0)
    return round(degrees / 90) % 4 if math.isfinite(degrees) else 0


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame as it comes out: its packet, when it is shown, how long, and whether it is known to lean on others.

    The checksum is 0 where the decoder says all that it knows of damage.
    """

    packet: int
    pts: int | None
    duration: int
    leans: bool
    picture: Picture
    crc32: int


class WholeVideo:
    """Decodes an open video once, to `packets` and `frames` in output order.

    `on_packet` is called before each packet is decoded, `on_frame` with each decoded frame, broken ones as well, and
    the number of its packet.
    """

    def __init__(
        self,
        video: OpenedVideo,
        media: Member,
        *,
        max_pixels: int | None = None,
        on_packet: Callable[[], None] = lambda: None,
        on_frame: Callable[[Any, int], None] = lambda frame, packet: None,
    ) -> None:
        self.packets, self.frames = Packets(), list[Decoded]()
        self._video, self._decoder = video, video
        self._media, self._max_pixels = media, max_pixels
        self._on_packet, self._on_frame = on_packet, on_frame
        self._most_packets = min(MAX_PACKETS - 1, FREE_PACKETS + media.size // BYTES_A_PACKET)
        self._pixels, self._most_pixels = 0, FREE_PIXELS + PIXELS_A_BYTE * media.size
        self._key = -1  # the last key packet that was fed
        self._begun = -1  # the key packet at which the decoder began
        self._is_spoiled, self._num_renewed = False, 0

    def decode(self) -> None:
        """Do it. Raises `UndecodableError` for what costs more than its size accounts for."""
        try:
            for packet, number in self._demuxed():
                if packet.is_keyframe:
                    self._begin_key(number)
                if self._num_renewed > MOST_RENEWALS or packet.is_corrupt:
                    self._note_damage(number)
                if self._num_renewed <= MOST_RENEWALS:
                    self._feed(packet, number)
            self._drain(len(self.packets) - 1)
        finally:
            if self._decoder is not self._video:
                self._decoder.close()

    def _demuxed(self) -> Iterator[tuple[Any, int]]:
        """Packets that are not empty, with their numbers; all are counted."""
        for packet in self._video.demux():
            if len(self.packets) > self._most_packets:
                raise UndecodableError(
                    f"more than {self._most_packets:,} packets, which its size does not account for"
                )
            self._on_packet()
            number = self.packets.add(packet)
            if packet.size:
                yield packet, number

    def _begin_key(self, number: int) -> None:
        """A fresh decoder, if the one in use has seen damage."""
        if self._is_spoiled:
            self._drain(number - 1)
            self._num_renewed += 1
            if self._num_renewed <= MOST_RENEWALS:
                self._renew()
            self._begun = number
        elif self._begun < 0:
            self._begun = number
        self._key = number

    def _renew(self) -> None:
        if self._decoder is not self._video:
            self._decoder.close()
        self._decoder = self._video  # closed by its owner, if there is no other
        self._decoder = OpenedVideo(self._media, max_pixels=self._max_pixels)
        self._is_spoiled = False

    def _feed(self, packet: Any, number: int) -> None:
        packet.opaque = [number]
        try:
            found = self._decoder.context.decode(packet)
        except av_errors():
            self._note_damage(number)
            return
        self._take(found, number)

    def _drain(self, number: int) -> None:
        try:
            found = self._decoder.context.decode(None)
        except av_errors():
            found = []
        self._take(found, number)

    def _take(self, found: list[Any], fed: int) -> None:
        for frame in found:
            check_pixels(frame.width, frame.height, self._max_pixels)
            self._pixels += int(frame.width) * int(frame.height)
            if self._pixels > self._most_pixels:
                raise UndecodableError(
                    f"more than {self._most_pixels:,} pixels in all, which its size does not account for"
                )
            packet = self._decoder.packet_of(frame, fed)
            self.frames.append(self._decoded(frame, packet))
            if frame.is_corrupt:
                self._note_damage(packet)
            self._on_frame(frame, packet)

    def _decoded(self, frame: Any, packet: int) -> Decoded:
        picture = Picture.of(frame)
        if self.frames and self.frames[-1].picture == picture:
            picture = self.frames[-1].picture  # one for all
        leans = not frame.key_frame and int(frame.pict_type) in LEANING
        crc32 = frame_crc32(frame) if self._video.may_conceal else 0
        return Decoded(packet, frame.pts, int(frame.duration or 0), leans, picture, crc32)

    def _note_damage(self, number: int) -> None:
        """The frame of a packet is damaged: so may be those that lean on it, and those of a key since then."""
        if self._is_leading(number):
            self.packets.lost.add(number)
            return
        self.packets.damaged.add(number)
        if self._key > number:
            self.packets.damaged.add(self._key)
        self._is_spoiled = True

    def _is_leading(self, number: int) -> bool:
        """Whether a packet is shown before the key at which the decoder began: it leans on what that never saw."""
        pts = self.packets.pts
        if not 0 <= self._begun < number or self._video.demuxer in INVENTED_TIMES:
            return False
        shown, begun = pts[number], pts[self._begun]
        return shown is not None and begun is not None and shown < begun
