"""The sound of a video: samples by their place in the file's own time, for clips that begin anywhere.

Sample n is heard n / rate seconds after the file's time zero. What a decoder returns depends on the packet it started
from: some add random noise, all need a few packets to become exact, and places are counted from the first time stamp.
To give a clip the same samples whatever was read before it, sound is decoded in blocks, each by a new decoder that
starts at the same packet every time.

    file     ├────────block 0────────┼────────block 1────────┼────────block 2────────┼───
    decoded                     ├╌╌╌╌┼──────────────┤          a clip of block 1: from half a second before the block

Where time stamps are coarser than samples (mkv has milliseconds, avi may count frames), codecs whose frames are all as
long as the second begin on that grid; the sound of others is one block.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...sources.located import Member
from ..errors import UndecodableError
from .av_package import av_errors
from .opened_video import OpenedVideo, positive

__all__ = ["SoundTrack", "check_sound"]

Samples = NDArray[np.float32]

STEADY = ("aac", "aac_latm", "mp3float", "mp3", "mp2", "mp2float", "ac3", "eac3", "opus", "libopus")
"""Decoders whose frames are all of one length but for the first and the last."""

NEW_BY_FLUSH = ("pcm_", "flac", "alac", "mp3")
"""Beginnings of the names of decoders that are as new after a flush; others have to be opened again."""

BLOCK_SECONDS = 10
LEAD_SECONDS = Fraction(1, 2)
"""Decoded before a block, until the decoder has forgotten where it began."""

LEAD_FRAMES = 2
"""Left out after a seek: they may be cut short."""

GAP_SECONDS = Fraction(1, 10)
MOST_BYTES = 1 << 28
"""Of sound for one clip, all channels as float32."""


class SoundTrack:
    """The first sound track of a video, open; `position` is the sample that is decoded next. For one thread at a time.

    `rate` is in Hz, `channels` as stored. Raises `UndecodableError` if no sound track can be decoded.
    """

    num_bytes = 1 << 20

    def __init__(self, media: Member, *, max_pixels: int | None = None) -> None:
        self._media, self._max_pixels = media, max_pixels
        self._block = 0  # the one that is being decoded
        self._floor: float = -math.inf  # samples from here on can be had without going back
        self._is_new, self.channels = True, 0
        self._open()
        self._decoded = self._frames(0)
        self._recent: deque[tuple[int, Samples]] = deque(islice(self._decoded, 2))
        if not self._recent or int(self._context.sample_rate) <= 0:
            self._video.close()
            raise UndecodableError("none of its sound can be decoded")
        (self._first, first), (second_begin, second) = self._recent[0], self._recent[-1]
        self.position, self.rate = second_begin + len(second), int(self._context.sample_rate)
        self._grid = (second_begin, max(1, len(second)))
        tick = self._time_base * self.rate
        is_steady = str(self._context.codec.name) in STEADY and len(second) > 0
        counts_frames = tick == len(second) == len(first)  # as avi does
        self._may_seek = tick <= 1 or (is_steady and (tick < len(second) / 2 or counts_frames))

    def _open(self) -> None:
        self._video = OpenedVideo(self._media, max_pixels=self._max_pixels)
        streams = self._video.container.streams.audio
        if not streams or streams[0].codec_context is None:
            self._video.close()
            raise UndecodableError("it has no sound track that can be decoded")
        self._stream = streams[0]
        self._context = self._stream.codec_context
        self._context.thread_count = 1
        self._time_base = positive(self._stream.time_base) or Fraction(1, 1000)
        self._is_new = True

    def read(self, start: int, stop: int) -> Samples:
        """Samples [start, stop) as (time, channel) float32; zeros where there is no sound."""
        check_sound(stop - start, self.channels, self.rate)
        out = np.zeros((max(0, stop - start), self.channels), np.float32)
        length, begin = BLOCK_SECONDS * self.rate, start
        while begin < stop:
            block = max(0, (begin - self._first) // length) if self._may_seek else 0
            end = min(stop, self._first + (block + 1) * length) if self._may_seek else stop
            self._read(block, begin, out[begin - start : end - start])
            begin = end
        return out

    def _read(self, block: int, start: int, out: Samples) -> None:
        """Samples of one block from `start` on, into zeros."""
        stop = start + len(out)
        if block != self._block or start < self._floor:
            self._go_to(block)
        self._floor = start
        while self.position < stop and (found := next(self._decoded, None)) is not None:
            self._recent.append(found)
            self.position = found[0] + len(found[1])
            self._forget_before(start)
        self._forget_before(start)
        for begin, samples in self._recent:
            low, high = max(begin, start), min(begin + len(samples), stop)
            if low < high:
                out[low - start : high - start] = samples[low - begin : high - begin]

    def _forget_before(self, start: int) -> None:
        """Clips may overlap, so what is decoded is kept from the beginning of the last one on."""
        while self._recent and self._recent[0][0] + len(self._recent[0][1]) <= start:
            self._recent.popleft()

    def _go_to(self, block: int) -> None:
        """Stand at or before the beginning of a block, with a decoder that is new."""
        begin = self._first + block * BLOCK_SECONDS * self.rate
        self._block = block
        if block and self._seek(begin - int(LEAD_SECONDS * self.rate)):
            self._decoded = self._frames(None, leave_out=LEAD_FRAMES)
            first = next(self._decoded, None)
            if first is not None and first[0] <= begin:
                self._recent.append(first)
                self.position = first[0] + len(first[1])
                return
        self._renew()
        self._decoded, self.position = self._frames(0), self._first

    def _seek(self, sample: int) -> bool:
        """Whether the next packets are those of a sample, or before; with a decoder that is new."""
        time = int(Fraction(sample, self.rate) / self._time_base)
        self._recent.clear()
        if not str(self._context.codec.name).startswith(NEW_BY_FLUSH):
            self._renew()
        self._is_new = False
        try:
            self._video.container.seek(time, stream=self._stream)
            self._context.flush_buffers()
        except av_errors():
            return False
        return True

    def _renew(self) -> None:
        """Open the file again, unless nothing was read of it yet."""
        self._recent.clear()
        if not self._is_new:
            self._video.close()
            self._open()

    def _frames(self, position: int | None, *, leave_out: int = 0) -> Iterator[tuple[int, Samples]]:
        """What comes out of the decoder: the sample at which it begins, and samples (time, channel)."""
        for packet in self._packets():
            for frame in self._decode(packet):
                if leave_out:
                    leave_out -= 1
                    continue
                samples = _as_floats(frame)
                begin = self._begin_of(frame, position)
                position = begin + len(samples)
                self.channels = self.channels or samples.shape[1]
                if samples.shape[1] == self.channels:
                    yield begin, samples

    def _begin_of(self, frame: Any, position: int | None) -> int:
        """The sample at which a frame begins, from its time stamp, and from where the one before it ended."""
        rate = int(self._context.sample_rate)
        if frame.pts is None:
            return position or 0
        tick = self._time_base * rate
        begin = math.floor(frame.pts * tick + Fraction(1, 2))
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
        """Those of the track, and None at the end, which has the decoder give what it holds back."""
        self._is_new = False
        yield from self._video.demux(self._stream)
        yield None

    def _decode(self, packet: Any) -> list[Any]:
        try:
            return list(self._context.decode(packet))
        except av_errors():
            return []

    def close(self) -> None:
        """Let go of the file and the decoder."""
        self._decoded = iter(())  # which refers to the track, and so would keep its source
        self._video.close()


def check_sound(num: int, channels: int, rate: int) -> None:
    """Raise `UndecodableError` for so many samples that they take too much memory."""
    if 4 * num * channels > MOST_BYTES:
        raise UndecodableError(
            f"its clip has {num / rate:,.0f} s of sound in {channels:,} channels, more than {MOST_BYTES:,} bytes: "
            "choose fewer clip_frames"
        )


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
