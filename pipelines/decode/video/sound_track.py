"""The sound of a video: samples by their place in the file's own time, for clips that begin anywhere.

Sample n is heard n / rate seconds from the file's time zero. Where time stamps are coarser than samples (mkv has
milliseconds), samples are counted from the first one; for codecs whose packets are all as long as the second, a seek
lands on that grid.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...sources.located import Member
from ..errors import UndecodableError
from .av_package import av_errors
from .opened_video import OpenedVideo

__all__ = ["SoundTrack"]

Samples = NDArray[np.float32]

STEADY = ("aac", "aac_latm", "mp3float", "mp3", "mp2", "mp2float", "ac3", "eac3", "opus", "libopus")
"""Decoders whose frames are all of one length but for the first and the last."""

LEAD_SECONDS = Fraction(1, 2)
"""Decoded before what is wanted after a seek, until the decoder has forgotten where it began."""

LEAD_FRAMES = 2
DECODED_ON_SECONDS = 2
GAP_SECONDS = Fraction(1, 10)
MOST_SECONDS = 3600
"""Of sound for one clip."""


class SoundTrack:
    """The first sound track of a video, open; `position` is the sample that is decoded next. For one thread at a time.

    `rate` is in Hz, `channels` as stored. Raises `UndecodableError` where there is none that can be decoded.
    """

    num_bytes = 1 << 20

    def __init__(self, media: Member) -> None:
        self._media = media
        self._waiting: deque[tuple[int, Samples]] = deque()
        self._decoded: Iterator[tuple[int, Samples]] = iter(())
        self.position = 0
        self._open()
        first = self._frames_from_start()
        try:
            begin, samples = next(first)
        except (StopIteration, UndecodableError):
            self._video.close()
            raise UndecodableError("none of its sound can be decoded") from None
        self.rate, self.channels = int(self._context.sample_rate), samples.shape[1]
        second = next(first, (begin + len(samples), samples))[1]
        self._first, self._grid = begin, (begin + len(samples), max(1, len(second)))
        base = Fraction(self._stream.time_base)
        self._tick = base * self.rate
        is_steady = str(self._context.codec.name) in STEADY and len(second) > 0
        self._may_seek = self._tick <= 1 or (is_steady and self._tick < self._grid[1] / 2)
        self._restart()

    def _open(self) -> None:
        self._video = OpenedVideo(self._media)
        streams = self._video.container.streams.audio
        if not streams or streams[0].codec_context is None:
            self._video.close()
            raise UndecodableError("it has no sound track that can be decoded")
        self._stream = streams[0]
        self._context = self._stream.codec_context
        self._context.thread_count = 1

    def read(self, start: int, stop: int) -> Samples:
        """Samples [start, stop) as (time, channel) float32; zeros where there is no sound."""
        if stop - start > MOST_SECONDS * self.rate:
            raise UndecodableError(
                f"its clip has {(stop - start) / self.rate:,.0f} s of sound: choose a shorter one"
            )
        out = np.zeros((max(0, stop - start), self.channels), np.float32)
        if not self._continues(start):
            self._go_to(start)
        while self.position < stop:
            found = self._waiting.popleft() if self._waiting else next(self._decoded, None)
            if found is None:
                break
            begin, samples = found
            self.position = begin + len(samples)
            low, high = max(begin, start), min(self.position, stop)
            if low < high:
                out[low - start : high - start] = samples[low - begin : high - begin]
            if self.position > stop:
                self._waiting.appendleft(found)
                self.position = begin
                break
        return out

    def _continues(self, start: int) -> bool:
        return self.position <= start < self.position + DECODED_ON_SECONDS * self.rate

    def _go_to(self, start: int) -> None:
        lead = start - int(LEAD_SECONDS * self.rate)
        if not self._may_seek or lead <= self._first + self._grid[1]:
            if not (not self._may_seek and self._first <= self.position <= start):
                self._restart()
            return
        time = int(Fraction(lead, self.rate) / Fraction(self._stream.time_base))
        try:
            self._video.container.seek(time, stream=self._stream)
            self._context.flush_buffers()
        except av_errors():
            self._restart()
            return
        self._waiting.clear()
        self._decoded = self._frames(None, leave_out=LEAD_FRAMES)
        first = next(self._decoded, None)
        if first is None or first[0] > start:
            self._restart()
            return
        self._waiting.append(first)
        self.position = first[0]

    def _restart(self) -> None:
        self._video.close()
        self._open()
        self._waiting.clear()
        self._decoded = self._frames(self._first)
        self.position = self._first

    def _frames_from_start(self) -> Iterator[tuple[int, Samples]]:
        for packet in self._packets():
            for frame in self._decode(packet):
                samples = _as_floats(frame)
                yield self._begin_of(frame, 0), samples

    def _frames(self, position: int | None, *, leave_out: int = 0) -> Iterator[tuple[int, Samples]]:
        """What comes out of the decoder: the sample at which it begins, and samples (time, channel)."""
        for packet in self._packets():
            for frame in self._decode(packet):
                samples = _as_floats(frame)
                begin = self._begin_of(frame, position)
                position = begin + len(samples)
                if leave_out:
                    leave_out -= 1
                elif samples.shape[1] == self.channels:
                    yield begin, samples

    def _begin_of(self, frame: Any, position: int | None) -> int:
        """The sample at which a frame begins, from its time stamp, and from where the one before it ended."""
        rate = int(self._context.sample_rate)
        if frame.pts is None:
            return position or 0
        tick = Fraction(frame.time_base) * rate
        begin = int(frame.pts * tick + Fraction(1, 2))
        if position is None:
            return self._on_grid(begin, tick)
        is_gap = abs(begin - position) > max(GAP_SECONDS * rate, 2 * tick)
        return begin if is_gap or not position else position

    def _on_grid(self, begin: int, tick: Fraction) -> int:
        if tick <= 1:
            return begin
        origin, step = self._grid
        near = origin + round((begin - origin) / step) * step
        return near if abs(near - begin) <= tick + 1 else begin

    def _packets(self) -> Iterator[Any]:
        demuxed = self._video.container.demux(self._stream)
        while True:
            try:
                packet = next(demuxed, None)
            except av_errors():
                return
            if packet is None:
                return
            yield packet

    def _decode(self, packet: Any) -> list[Any]:
        try:
            return list(self._context.decode(packet if packet.size else None))
        except av_errors():
            return []

    def close(self) -> None:
        """Let go of the file and the decoder."""
        self._video.close()


SCALES = {"u8": 7, "s16": 15, "s32": 31, "s64": 63}


def _as_floats(frame: Any) -> Samples:
    """A frame of sound as (time, channel) float32; integers become [-1, 1)."""
    raw = frame.to_ndarray()
    name = str(frame.format.name)
    planar = name.endswith("p")
    samples = raw.T if planar else raw.reshape(-1, len(frame.layout.channels))
    bits = SCALES.get(name.removesuffix("p"))
    if bits is None:
        return np.ascontiguousarray(samples, np.float32)
    centred = samples.astype(np.float64) - (128 if name.startswith("u8") else 0)
    return np.ascontiguousarray(centred / (1 << bits), np.float32)
