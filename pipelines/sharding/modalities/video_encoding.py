"""A video encoded again, so that any clip of it is cheap to decode, and proof that no frame and no time was lost.

Every decodable frame comes out again, at its own time: upright, of even size, 8 bits, 4:2:0. Range, matrix, primaries
and transfer of its colours, and the aspect of its pixels, are written into the new file. Sound is copied as it is. The
file is an mp4, whatever the codec: its times are as fine as those of any source, and a list of all frames is in it.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ...decode.errors import UndecodableError
from ...decode.video.av_package import av_errors, import_av, words_of
from ...decode.video.opened_video import OpenedVideo
from ...sources.located import Member
from ...storage.frame_table import FrameFlag, FrameTable
from .frame_placing import PIXEL_FORMAT, FramePlacing, even_size
from .spool import SpoolWriter
from .video_copying import container_options, has_sound_track, moved_sound, takes, timed
from .video_encoders import ENCODERS
from .video_packets import demuxed, opened, sound_packets

__all__ = ["CONTAINER", "Encoding", "decoded_frames"]

CONTAINER = "mp4"
MOST_RATE = Fraction(1 << 16)
MOST_PIXELS = 1 << 25
"""Of a frame that is encoded: 8K."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How videos are encoded: see `VideoSettings`."""

    codec: str
    gop: int
    quality: int
    resize: int | None
    no_audio: bool

    def encode(self, media: Member, table: FrameTable, target: SpoolWriter) -> None:
        """Write a video again. Raises `UndecodableError` where it cannot be."""
        height, width = table.size
        if height * width > MOST_PIXELS:
            raise UndecodableError(
                f"{width:,} × {height:,} pixels are more than the {MOST_PIXELS:,} that are encoded again"
            )
        try:
            self._write(media, table, target)
        except av_errors() as error:
            raise UndecodableError(f"it cannot be encoded as {self.codec} ({words_of(error)})") from error

    def check(self, table: FrameTable, made: FrameTable) -> None:
        """Raise `UndecodableError` unless what was made holds every frame of a video, at its time, in closed GOPs."""
        keys = [number for number, flags in enumerate(made.rows["flags"].tolist()) if flags & FrameFlag.KEY]
        clean = made.rows["flags"][keys] & FrameFlag.CLEAN != 0
        times = zip(table.rows["time"].tolist(), made.rows["time"].tolist(), strict=False)
        if len(made) != len(table) or len(made.broken):
            wrong = f"{len(made):,} of {len(table):,} frames"
        elif any(time * table.time_base != other * made.time_base for time, other in times):
            wrong = "frames at other times"
        elif keys != list(range(0, len(table), self.gop)) or not clean.all():
            wrong = "key frames at other places"
        elif made.size != even_size(table.size, self.resize):
            wrong = "frames of another size"
        else:
            return
        raise UndecodableError(f"encoded as {self.codec}, it has {wrong}")

    def _write(self, media: Member, table: FrameTable, target: SpoolWriter) -> None:
        frames = decoded_frames(media, table)
        first = next(frames)
        placing = FramePlacing.of(first, table, self.resize)
        with import_av().open(
            target, "w", format=CONTAINER, options=container_options(CONTAINER, table)
        ) as container:
            stream = self._add_stream(container, table, placing)
            packets = [timed(self._encoded(_and(first, frames), stream, table, placing))]
            if not self.no_audio and (sound := _add_sound(container, media)) is not None:
                packets.append(timed(moved_sound(sound_packets(media, None, None), sound, Fraction(0))))
            for _, _, packet in heapq.merge(*packets, key=lambda one: one[:2]):
                container.mux(packet)

    def _add_stream(self, container: Any, table: FrameTable, placing: FramePlacing) -> Any:
        encoder = ENCODERS[self.codec]
        os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes its settings to stderr otherwise; 1: errors
        rate = min(MOST_RATE, max(1 / MOST_RATE, table.rate)).limit_denominator(MOST_RATE.numerator)
        stream = container.add_stream(
            encoder.name, rate=rate, options=encoder.options(gop=self.gop, quality=self.quality)
        )
        stream.width, stream.height, stream.pix_fmt = placing.width, placing.height, PIXEL_FORMAT
        context = stream.codec_context
        context.time_base = 1 / rate
        context.sample_aspect_ratio = placing.pixel_aspect
        placing.colours.write_to(context)
        return stream

    def _encoded(
        self, frames: Iterator[Any], stream: Any, table: FrameTable, placing: FramePlacing
    ) -> Iterator[Any]:
        """Packets in order, at the times of their frames.

        Encoders are given the numbers of frames for times: some have ideas of their own about irregular ones.
        """
        times = times_of(table)
        for packet in self._packets(frames, stream, placing):
            number = int(packet.pts)
            packet.time_base = table.time_base
            packet.pts = packet.dts = times[number]
            packet.duration = times[number + 1] - times[number]
            yield packet

    def _packets(self, frames: Iterator[Any], stream: Any, placing: FramePlacing) -> Iterator[Any]:
        for number, frame in enumerate(frames):
            placed = placing.place(frame)
            placed.pts, placed.time_base = number, stream.codec_context.time_base
            yield from stream.encode(placed)
        yield from stream.encode(None)


def times_of(table: FrameTable) -> list[int]:
    """When each frame is shown, and when the last one ends, in units of the table's time base."""
    return [*table.rows["time"].tolist(), int(table.head["end"])]


def _and(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _add_sound(container: Any, media: Member) -> Any:
    """A stream for the sound of a video; None where it has none. Raises `UndecodableError` where it does not fit."""
    video = opened(media)
    try:
        if not has_sound_track(video):
            return None
        track = video.container.streams.audio[0]
        codec = str(track.codec_context.codec.name)
        if not takes(CONTAINER, codec):
            raise UndecodableError(f"its sound ({codec}) does not fit {CONTAINER}: use --no-audio")
        return container.add_stream_from_template(track, opaque=True)
    finally:
        video.close()


def decoded_frames(media: Member, table: FrameTable) -> Iterator[Any]:
    """The frames of a table, in order. Raises `UndecodableError` where one of them does not come."""
    good, num = set(table.rows["packet"].tolist()), 0
    video = opened(media)
    try:
        for packet, frame in _outputs(video):
            if packet in good:
                num += 1
                yield frame
    finally:
        video.close()
    if num != len(table):
        raise UndecodableError(f"{num:,} of its {len(table):,} frames came when it was decoded again")


def _outputs(video: OpenedVideo) -> Iterator[tuple[int, Any]]:
    """What comes out of the decoder, each frame with the number of its packet."""
    number = -1
    for packet in demuxed(video, video.stream):
        number += 1
        if not packet.size:
            continue
        packet.opaque = [number]
        try:
            found = video.context.decode(packet)
        except av_errors():
            continue
        yield from ((_made_by(frame, number), frame) for frame in found)
    try:
        found = video.context.decode(None)
    except av_errors():
        return
    yield from ((_made_by(frame, number), frame) for frame in found)


def _made_by(frame: Any, number: int) -> int:
    return int(frame.opaque[0]) if frame.opaque else number
