"""The examples of one video: measured, and encoded again, cut or freed of its sound where that is wanted.

file ──▶ measured ──▶ encoded again, measured ──▶ cut at key frames, each segment measured
                                             └──▶ whole: the bytes as they are, or a copy without the sound
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ...decode.errors import UndecodableError
from ...decode.video.measuring_process import checksums_apart, measure_apart
from ...sources.located import FilePart, Member
from ...storage.frame_table import FrameTable
from ...storage.index import Record
from ..packing import Prepared
from ..source_reader import SourceReader
from .spool import Spool
from .video_copying import VideoCopier, has_sound_track
from .video_cutting import VideoCutter
from .video_encoding import CONTAINER, Encoding
from .video_packets import opened

__all__ = ["VideoJob", "source_member", "video_record"]


@dataclass(frozen=True, slots=True)
class _Video:
    """A whole video, its frames, and their checksums where something is to be compared with them."""

    media: Member
    suffix: str
    chunks: Callable[[], Iterator[bytes]]
    table: FrameTable
    checksums: NDArray[np.uint32] | None

    def prepared(self, fields: Mapping[str, bytes], piece: int | None) -> Prepared:
        """As it is."""
        return _prepared(self.chunks(), self.media.size, self.suffix, self.table, fields, piece)


@dataclass(frozen=True)
class VideoJob:
    """What `VideoSettings` mean for one video. Raises `UndecodableError` where it cannot be done."""

    segment: Fraction | None = None
    encoding: Encoding | None = None
    no_audio: bool = False
    max_pixels: int | None = None

    def examples(self, file: SourceReader, suffix: str, fields: Mapping[str, bytes]) -> Iterator[Prepared]:
        """The examples of a file, in order; each is used before the next is asked for."""
        media = source_member(file)
        with Spool() as spool:
            if self.encoding is None:
                video = self._measured(media, suffix, file.chunks)
            else:
                video = self._encoded(media, self.encoding, spool)
            if self.segment is None:
                yield self._whole(video, fields, spool, None)
            else:
                yield from self._segments(video, self.segment, fields, spool)

    def _measured(self, media: Member, suffix: str, chunks: Callable[[], Iterator[bytes]]) -> _Video:
        if self.segment is not None or (self.no_audio and self.encoding is None):
            return _Video(media, suffix, chunks, *checksums_apart(media, max_pixels=self.max_pixels))
        return _Video(media, suffix, chunks, measure_apart(media, max_pixels=self.max_pixels), None)

    def _encoded(self, media: Member, encoding: Encoding, spool: Spool) -> _Video:
        table, writer = measure_apart(media, max_pixels=self.max_pixels), spool.writer()
        encoding.encode(media, table, writer)
        made = spool.keep(writer)
        video = self._measured(made.member, CONTAINER, made.chunks)
        encoding.check(table, video.table)
        return video

    def _segments(
        self, video: _Video, seconds: Fraction, fields: Mapping[str, bytes], spool: Spool
    ) -> Iterator[Prepared]:
        """Its segments; the whole where it is not cut."""
        copies = None
        with contextlib.suppress(UndecodableError):  # no container takes it
            copies = self._cutter(video, spool).segments(seconds)
        if copies is None:
            yield self._whole(video, fields, spool, 0)
            return
        for piece, copy in enumerate(copies):
            yield _prepared(copy.media.chunks(), copy.media.size, copy.suffix, copy.table, fields, piece)

    def _whole(self, video: _Video, fields: Mapping[str, bytes], spool: Spool, piece: int | None) -> Prepared:
        if not self.no_audio or self.encoding is not None or not _has_sound(video.media):
            return video.prepared(fields, piece)
        copy = self._cutter(video, spool).copy(0, len(video.table), origin=0)
        if copy is None:
            raise UndecodableError("a copy without its sound does not decode to the same frames")
        return _prepared(copy.media.chunks(), copy.media.size, copy.suffix, copy.table, fields, piece)

    def _cutter(self, video: _Video, spool: Spool) -> VideoCutter:
        copier = VideoCopier.of(video.media, video.table, video.suffix, no_audio=self.no_audio)
        assert video.checksums is not None, "asked for with what is to be copied"
        return VideoCutter(copier, video.checksums, spool, max_pixels=self.max_pixels)


def source_member(file: SourceReader) -> Member:
    """A file of the source, to be read by FFmpeg itself."""
    return Member(file.read, file.size, file=FilePart(file.full_path))


def _has_sound(media: Member) -> bool:
    video = opened(media)
    try:
        return has_sound_track(video)
    finally:
        video.close()


def _prepared(
    chunks: Iterator[bytes],
    size: int,
    suffix: str,
    table: FrameTable,
    fields: Mapping[str, bytes],
    piece: int | None,
) -> Prepared:
    return Prepared(chunks, suffix, video_record(table), fields, media_bytes=size, piece=piece, table=table)


def video_record(table: FrameTable) -> Record:
    """The row of a video in an index, without its place: from its frame table."""
    height, width = table.size
    return Record(
        frames=len(table),
        rate_numerator=table.rate.numerator,
        rate_denominator=table.rate.denominator,
        width=width,
        height=height,
        channels=int(table.head["channels"]),
    )
