"""Videos for many threads: frame tables that are remembered, decoders that stay open where they stand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...child_process import end_idle_children
from ...errors import ShardError
from ...order.clip_arithmetic import UNREADABLE
from ...sources.located import LocatedExample, ReadOrder
from ...storage.cache import cache_name, file_identity, read_entry, write_entry
from ...storage.frame_table import FrameTable, TableFlag, frames_bytes, parse_frames
from ...storage.index import Record
from ...storage.live_cache import LiveCache
from ..audio.channels import to_channels
from ..audio.resampling import MOST_RATIO, resample_window
from ..decoder import RUN_PROGRESS
from ..decoder_pool import DecoderPool
from ..errors import UndecodableError
from ..image.limits import most_pixels
from .frame_counts import FrameCounter
from .measuring_process import MOST_PROCESSES, measure_apart
from .sound_track import SoundTrack, check_sound
from .video_stream import VideoStream

__all__ = ["VideoReader"]

KEPT_TABLES = 256
KEPT_STREAMS = 32
KEPT_TRACKS = 16
KEPT_STREAM_BYTES = 256 << 20
MARGIN_SECONDS = 1
MOST_SAMPLES = 1 << 60

Name = tuple[str, int | None, str]


class VideoReader:
    """Reads frames of videos by their ordinals; also the `Probe` of video.

    Frame tables come from beside the tar; other videos are measured once, in a process of its own, and their tables are
    kept in the cache. Open decoders are kept up to 256 MiB. Nothing is open before the first read or after `close`;
    pickled, it is empty.

    max_pixels   larger videos are refused
    keep         decoded frames that a decoder keeps for clips that overlap
    """

    modality = "video"
    at_once = MOST_PROCESSES

    def __init__(self, *, max_pixels: int | None = None, keep: int = 0) -> None:
        self.max_pixels, self.keep = max_pixels, keep
        self.kind = f"video-2, {most_pixels(max_pixels)} pixels"  # in the cache: what is refused depends on it
        self.counter = FrameCounter()
        self.is_random = False
        self._tables: LiveCache[Name, FrameTable] = LiveCache(KEPT_TABLES)
        self._streams: DecoderPool[VideoStream] = DecoderPool(KEPT_STREAMS, most_bytes=KEPT_STREAM_BYTES)
        self._tracks: DecoderPool[SoundTrack] = DecoderPool(KEPT_TRACKS)

    def measure(self, located: LocatedExample) -> Record:
        """What is known of a video; frames are UNREADABLE where it cannot be decoded."""
        try:
            table = self.table(located)
        except UndecodableError:
            return Record(frames=UNREADABLE, rate_numerator=1, rate_denominator=1)
        height, width = table.size
        return Record(
            frames=len(table),
            rate_numerator=int(table.head["rate_numerator"]),
            rate_denominator=int(table.head["rate_denominator"]),
            width=width,
            height=height,
            channels=int(table.head["channels"]),
        )

    def expect(self, order: ReadOrder) -> None:
        """Read at random, a decoder is not kept where a clip ends: the frames behind are not decoded then."""
        self.is_random = order == "random"

    def refuse(self, located: LocatedExample) -> None:
        """Raise `UndecodableError` for a video that was found to be unreadable, with the reason."""
        measure_apart(located.media, max_pixels=self.max_pixels)
        raise UndecodableError("it could not be decoded when it was measured, and has changed since")

    def table(self, located: LocatedExample) -> FrameTable:
        """The frame table of a video. Raises `UndecodableError` for one that cannot be decoded."""
        return self._tables.get(_name(located), lambda _: self._find_table(located))

    def _find_table(self, located: LocatedExample) -> FrameTable:
        if located.frames is not None:
            rows, offset = located.frames
            try:
                return FrameTable.at(rows, offset, f"{located.container}.frames.npy")
            except ShardError as error:
                raise UndecodableError(str(error).rstrip(".")) from error
        entry = _cache_entry(self.kind, located)
        if entry is not None and (content := read_entry(entry)) is not None:
            try:
                return FrameTable.at(parse_frames(content, where=entry), 0, entry)
            except ShardError:
                pass  # the video is the truth
        table = measure_apart(located.media, max_pixels=self.max_pixels)
        if entry is not None:
            write_entry(entry, frames_bytes(table.to_rows()))
        return table

    def frames(self, located: LocatedExample, ordinals: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """The frames of a video at these ordinals, which rise: see `VideoStream.frames`."""
        name, table = _name(located), self.table(located)
        stream = self._streams.take(name, ordinals[0])
        if stream is None:
            stream = VideoStream(located.media, table, self.counter, keep=self.keep, max_pixels=self.max_pixels)
        try:
            yield from stream.frames(ordinals, drain=self.is_random and not RUN_PROGRESS.goes_on)
        except BaseException:
            stream.close()
            raise
        self._streams.put_back(name, stream)

    def sound(
        self, located: LocatedExample, begin: Fraction, num: int, sample_rate: int
    ) -> NDArray[np.float32] | None:
        """The sound from a second of the file's own time on: (1, num) float32, the mean of all channels.

        None if there is none. Another rate than the track's is made by soxr.
        """
        if not self.table(located).flags & TableFlag.HAS_SOUND:
            return None
        check_sound(num, 1, sample_rate)
        name, start = _name(located), math.floor(begin * sample_rate + Fraction(1, 2))
        track = self._tracks.take(name, start) or SoundTrack(located.media, max_pixels=self.max_pixels)
        try:
            samples = _stretch_of(track, start, num, sample_rate)
        except BaseException:
            track.close()
            raise
        self._tracks.put_back(name, track)
        return samples

    def close(self) -> None:
        """Let go of all decoders and tables."""
        self._tracks.clear()
        self._streams.clear()
        self._tables.clear()
        end_idle_children()


def _stretch_of(track: SoundTrack, start: int, num: int, sample_rate: int) -> NDArray[np.float32]:
    """(1, num) float32 at a rate, from a sample of that rate on."""
    if track.rate == sample_rate:
        return to_channels(track.read(start, start + num), 1).T
    if not 1 / MOST_RATIO <= track.rate / sample_rate <= MOST_RATIO:
        raise UndecodableError(f"its sample rate of {track.rate:,} Hz is too far from {sample_rate:,} Hz")
    moved = max(
        0, -(-(MARGIN_SECONDS * sample_rate - start) // sample_rate)
    )  # whole seconds, so that nothing is < 0

    def read(begin: int, end: int) -> NDArray[np.float32]:
        return to_channels(track.read(begin - moved * track.rate, end - moved * track.rate), 1)

    return resample_window(
        read, start + moved * sample_rate, num, frames=MOST_SAMPLES, from_rate=track.rate, to_rate=sample_rate
    ).T


def _name(located: LocatedExample) -> Name:
    return located.container, located.offset, located.key


def _cache_entry(kind: str, located: LocatedExample) -> str | None:
    """Under which name the table of a video is cached; None where it lies in no file of this machine."""
    place = located.media.file
    if place is None:
        return None
    try:
        identity = file_identity(Path(place.path))
    except OSError:
        return None
    what = ["frame table", kind, identity, place.offset, located.media.size]
    return f"{cache_name(what)}.frames.npy"
