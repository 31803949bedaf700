"""A video encoded again, so that any clip of it is cheap to decode, and proof that no frame and no time was lost.

Every decodable frame comes out again, at its own time: upright, of even size, 8 bits, 4:2:0. Range, matrix, primaries
and transfer of its colours, and the aspect of its pixels, are written into the new file. Sound is copied as it is. The
file is an mp4, whatever the codec: its times are as fine as those of any source, and a list of all frames is in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ...decode.errors import UndecodableError
from ...decode.video.av_package import av_errors, import_av, words_of
from ...decode.video.whole_video import WholeVideo
from ...sources.located import Member
from ...storage.frame_table import FrameFlag, FrameTable
from .frame_placing import PIXEL_FORMAT, FramePlacing, even_size
from .spool import SpoolWriter
from .video_copying import container_options, has_sound_track, moved_sound, takes, timed
from .video_encoders import ENCODERS
from .video_packets import ANY_SIZE, opened, sound_packets

__all__ = ["CONTAINER", "Encoding", "decode_frames"]

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
        options = container_options(CONTAINER, table)
        with import_av().open(target, "w", format=CONTAINER, options=options) as container:
            writer = _Writer(self, container, media, table)
            decode_frames(media, table, writer.add)
            writer.finish()


class _Writer:
    """Frames in, packets out: encoded, at the times of a table, with the sound between them."""

    def __init__(self, encoding: Encoding, container: Any, media: Member, table: FrameTable) -> None:
        self._encoding, self._container, self._table = encoding, container, table
        self._times, self._num = times_of(table), 0
        self._placing: FramePlacing | None = None
        self._stream = self._add_stream()
        self._sound: Iterator[tuple[Fraction, int, Any]] = iter(())
        self._next_sound: tuple[Fraction, int, Any] | None = None
        if not encoding.no_audio and (sound := _add_sound(container, media)) is not None:
            self._sound = timed(moved_sound(sound_packets(media, None, None), sound, Fraction(0)))

    def _add_stream(self) -> Any:
        encoding, encoder = self._encoding, ENCODERS[self._encoding.codec]
        os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes its settings to stderr otherwise; 1: errors
        rate = min(MOST_RATE, max(1 / MOST_RATE, self._table.rate)).limit_denominator(MOST_RATE.numerator)
        options = encoder.options(gop=encoding.gop, quality=encoding.quality)
        stream = self._container.add_stream(encoder.name, rate=rate, options=options)
        stream.height, stream.width = even_size(self._table.size, encoding.resize)
        stream.pix_fmt = PIXEL_FORMAT
        stream.codec_context.time_base = 1 / rate
        return stream

    def add(self, frame: Any) -> None:
        """The next frame.

        Encoders are given the numbers of frames for times: some have ideas of their own about irregular ones.
        """
        context = self._stream.codec_context
        if self._placing is None:
            self._placing = FramePlacing.of(frame, self._table, self._encoding.resize)
            self._placing.write_to(context)
        placed = self._placing.place(frame)
        placed.pts, placed.time_base = self._num, context.time_base
        self._num += 1
        self._mux(self._stream.encode(placed))

    def finish(self) -> None:
        """The packets that the encoder holds back, and the rest of the sound."""
        self._mux(self._stream.encode(None))
        self._mux_sound(None)

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            number = int(packet.pts)
            begin, end = self._times[number : number + 2]
            packet.time_base = self._table.time_base
            packet.pts = packet.dts = begin
            packet.duration = end - begin
            self._mux_sound(begin * self._table.time_base)
            self._container.mux(packet)

    def _mux_sound(self, until: Fraction | None) -> None:
        """What begins before a time."""
        while True:
            self._next_sound = self._next_sound or next(self._sound, None)
            if self._next_sound is None or (until is not None and self._next_sound[0] >= until):
                return
            self._container.mux(self._next_sound[2])
            self._next_sound = None


def times_of(table: FrameTable) -> list[int]:
    """When each frame is shown, and when the last one ends, in units of the table's time base."""
    return [*table.rows["time"].tolist(), int(table.head["end"])]


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


def decode_frames(media: Member, table: FrameTable, use: Callable[[Any], None]) -> None:
    """Hand over the frames of a table, in order, as they were when it was measured.

    Raises `UndecodableError` where one of them does not come.
    """
    good, num = set(table.rows["packet"].tolist()), 0

    def on_frame(frame: Any, packet: int) -> None:
        nonlocal num
        if packet in good:
            num += 1
            use(frame)

    video = opened(media)
    try:
        WholeVideo(video, media, max_pixels=ANY_SIZE, on_frame=on_frame).decode()
        video.check_reading()
    finally:
        video.close()
    if num != len(table):
        raise UndecodableError(f"{num:,} of its {len(table):,} frames came when it was decoded again")
