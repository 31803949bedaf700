"""Clips of videos to uint8 pixels of one shape, written straight into a batch's slot.

place in the run ─▶ which frames ─▶ decoded from the last key on ─▶ scaled, turned, cut ─▶ slot, black behind the end
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...order.checked_numbers import whole_number
from ...order.clip_arithmetic import UNREADABLE
from ...order.randomness import Place
from ...order.video_clips import VideoClipSpec
from ...sources.clips import Clip
from ...sources.source import Example
from ...storage.frame_table import FrameTable
from ..audio.resampling import import_soxr
from ..decoder import Details, Run
from ..errors import UndecodableError
from ..image.limits import check_pixels
from .frame_filling import FrameFilling
from .video_reader import VideoReader

__all__ = ["VideoDecoder"]

Frames = NDArray[np.uint8]
MAX_CLIP_BYTES = 1 << 31
RUN_CLIPS = 8
MOST_HZ = 1 << 20


class VideoDecoder:
    """Decodes a `Clip` to (3, time, height, width) uint8, channels last in memory.

    reader     reads the videos; the clips' source closes it
    spec       the clips, and whether they begin at random: then anywhere in a clip's share of the video, by its place
               in the run
    filling    the size of the frames, and how they fill it
    sample_rate   of the field "sound" in Hz; None: it is not made
    """

    def __init__(
        self, reader: VideoReader, spec: VideoClipSpec, filling: FrameFilling, *, sample_rate: int | None = None
    ) -> None:
        if sample_rate is not None:
            sample_rate = whole_number("sample_rate", sample_rate, most=MOST_HZ)
            import_soxr()
        self.sample_rate = sample_rate
        if filling.size is not None:
            _check_bytes(spec.clip_frames, *filling.size)
        self.reader, self.spec, self.filling = reader, spec, filling

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that it makes of every clip."""
        asked = {
            "pts_seconds": True,
            "pixel_aspect": self.filling.size is None,
            "sound": self.sample_rate is not None,
        }
        return tuple(name for name, is_made in asked.items() if is_made)

    def allocate(self, num: int) -> Frames | None:
        """(num, 3, time, height, width); None where each video keeps its own size."""
        size = self.filling.size
        if size is None:
            return None
        return np.empty((num, self.spec.clip_frames, *size, 3), np.uint8).transpose(0, 4, 1, 2, 3)

    def decode_into(self, example: Example, out: Frames, place: Place) -> Details:
        """Fill a slot (3, time, height, width). Raises `ExampleError` for a video that cannot be decoded."""
        clip = _clip(example)
        try:
            return self._decode(clip, self._table(clip), out, place)
        except UndecodableError as error:
            raise example.error(str(error)) from error

    def decode(self, example: Example, place: Place) -> tuple[Frames, Details]:
        """The clip in its video's own size: (3, time, height, width). Raises `ExampleError`."""
        clip = _clip(example)
        try:
            table = self._table(clip)
            _check_bytes(self.spec.clip_frames, *table.size)
        except (UndecodableError, ValueError) as error:
            raise example.error(str(error).rstrip(".")) from error
        out = np.empty((self.spec.clip_frames, *table.size, 3), np.uint8).transpose(3, 0, 1, 2)
        return out, self.decode_into(example, out, place)

    def run_of(self, example: Example) -> Run:
        """Clips that one thread decodes together, so that what lies before them is decoded once.

        Read at random: those of a video that begin behind the same key. Read in order: all of a video, cut after every
        eighth clip where a key is near.
        """
        clip = _clip(example)
        name = (clip.container, clip.offset, clip.located.key)
        if clip.record.frames <= UNREADABLE:
            return Run(name)
        try:
            table = self._table(clip)
        except UndecodableError:
            return Run(name)
        if self.reader.is_random:
            return Run((*name, table.key_ordinal(self._first(clip, clip.number, table))))
        return Run((*name, self._block(clip, table)), in_order=True)

    def _block(self, clip: Clip, table: FrameTable) -> int:
        """The last block of clips, at or before that of a clip, that begins no further than a clip behind a key."""
        block = clip.number // RUN_CLIPS
        while block:
            first = self._first(clip, block * RUN_CLIPS, table)
            near = table.key_ordinal(first) + self.spec.window
            if first <= near:
                break
            block = min(block - 1, block * near // first)
        return block

    def _first(self, clip: Clip, number: int, table: FrameTable) -> int:
        """The first frame of a clip of the same video, where it begins nowhere at random."""
        start = self.spec.start(number)
        return min(len(table) - 1, self.spec.source_frame(start, clip.record))

    def _table(self, clip: Clip) -> FrameTable:
        if clip.record.frames <= UNREADABLE:
            self.reader.refuse(clip.located)
        table = self.reader.table(clip.located)
        if len(table) != clip.record.frames:
            raise UndecodableError(
                f"its index says {clip.record.frames:,} frames, its frame table {len(table):,}: one is damaged, or the "
                "file was replaced"
            )
        height, width = table.size
        check_pixels(width, height, self.reader.max_pixels)
        return table

    def _decode(self, clip: Clip, table: FrameTable, out: Frames, place: Place) -> Details:
        spec = self.spec
        word = place.words(1)[0] if spec.random_offset else 0
        start, length = spec.stretch(clip.record, clip.number, clip.count, word)
        ordinals = self._ordinals(table, start, spec.steps(length))
        placement = self.filling.place(table, place)
        slot = out.transpose(1, 2, 3, 0)
        self._fill(clip, ordinals, slot, placement)
        slot[len(ordinals) :] = 0
        return self._details(clip, table, ordinals, placement.transform)

    def _ordinals(self, table: FrameTable, start: int, steps: int) -> NDArray[np.int64]:
        """Which frames are delivered: (steps,) int64."""
        rate = self.spec.fps
        if rate is not None:
            return table.shown_at(start, steps, rate)
        return start + np.arange(steps, dtype=np.int64) * self.spec.every

    def _fill(self, clip: Clip, ordinals: NDArray[np.int64], slot: Frames, placement: Any) -> None:
        unique, first = np.unique(ordinals, return_index=True)
        counts = np.diff(np.append(first, len(ordinals)))
        steps = iter(zip(first.tolist(), counts.tolist(), strict=True))
        for _, frame in self.reader.frames(clip.located, unique.tolist()):
            step, count = next(steps)
            self.filling.fill(frame, slot[step], placement)
            slot[step + 1 : step + count] = slot[step]
        self.reader.counter.add(delivered=len(ordinals))

    def _details(
        self, clip: Clip, table: FrameTable, ordinals: NDArray[np.int64], transform: Sequence[float]
    ) -> Details:
        spec = self.spec
        seconds = np.full(spec.clip_frames, np.nan)
        seconds[: len(ordinals)] = table.seconds(ordinals)
        fields: dict[str, Any] = {"pts_seconds": seconds}
        if self.sample_rate is not None:
            fields["sound"] = self._sound(clip, table, int(ordinals[0]))
        if self.filling.size is None:
            fields["pixel_aspect"] = np.array(float(table.pixel_aspect))
        return Details(
            transform=tuple(transform),
            length=len(ordinals) if len(ordinals) < spec.clip_frames else None,
            key=f"{clip.located.key}@{int(ordinals[0])}",
            fields=fields,
            rate=None if spec.fps is not None else clip.record.rate,
        )

    def _sound(self, clip: Clip, table: FrameTable, first: int) -> NDArray[np.float32] | None:
        """(1, samples) float32 from when the first frame is shown; as long as a clip is at the video's average rate."""
        assert self.sample_rate is not None
        frames_per_second = self.spec.fps or table.rate / self.spec.every
        num = int(self.spec.clip_frames / frames_per_second * self.sample_rate + Fraction(1, 2))
        begin = int(table.rows["time"][first]) * table.time_base
        return self.reader.sound(clip.located, begin, num, self.sample_rate)

    def __repr__(self) -> str:
        spec = self.spec
        parts = [f"clip_frames={spec.clip_frames}", f"fps={spec.fps}", f"every={spec.every}", f"hop={spec.hop}"]
        parts += [f"random_offset={spec.random_offset}", f"short={spec.short!r}"]
        return f"VideoDecoder({', '.join(parts)}, {self.filling!r})"


def _check_bytes(clip_frames: int, height: int, width: int) -> None:
    if (num := clip_frames * height * width * 3) > MAX_CLIP_BYTES:
        raise ValueError(
            f"{clip_frames:,} frames of {width:,} × {height:,} pixels take {num:,} bytes; a clip may take up to "
            f"{MAX_CLIP_BYTES:,}. Choose fewer frames, or a smaller size."
        )


def _clip(example: Example) -> Clip:
    if not isinstance(example, Clip):
        raise TypeError(f"a VideoDecoder decodes clips of a ClipSource, not {type(example).__name__}.")
    return example
