"""Stretches of a video copied into files of their own, packet by packet, with the sound that is heard meanwhile.

The same stretch gives the same bytes: no clock, no name, no version is written. Subtitles and further tracks are left
out.

    source            target
    mp4, mov, ts, mpg mp4
    mkv, avi          mkv
    webm              webm
    any               mkv, where that container does not take the codec of the pictures or the sound
"""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from ...decode.errors import UndecodableError
from ...decode.video.av_package import av_errors, import_av, words_of
from ...decode.video.opened_video import OpenedVideo, positive
from ...sources.located import Member
from ...storage.frame_table import FrameTable, TableFlag
from .spool import SpoolWriter
from .video_packets import (
    CopiedPackets,
    PacketTimes,
    Stretch,
    opened,
    scan_packets,
    sound_packets,
    video_packets,
)

__all__ = ["SUFFIXES", "VideoCopier", "container_options", "has_sound_track", "moved_sound", "takes", "timed"]

SUFFIXES = {"mp4": "mp4", "matroska": "mkv", "webm": "webm"}
"""Container of FFmpeg → suffix of its files."""

TARGETS = {"mov": "mp4", "mpegts": "mp4", "mpeg": "mp4", "matroska": "matroska", "avi": "matroska"}
"""Reader of FFmpeg → container that copies go to."""


@dataclass(frozen=True)
class VideoCopier:
    """A video to be copied from: its table, the time stamps of its packets, the container that copies are in.

    `sound_lead` is how many seconds before its time 0 the container may begin its sound.
    """

    media: Member
    table: FrameTable
    stored: PacketTimes
    container: str
    has_sound: bool
    sound_lead: Fraction

    @classmethod
    def of(cls, media: Member, table: FrameTable, suffix: str, *, no_audio: bool) -> VideoCopier:
        """For a file with this suffix. Raises `UndecodableError` where no container takes what is in it."""
        video = opened(media)
        try:
            has_sound = has_sound_track(video) and not no_audio
            codecs = [str(video.context.codec.name)]
            if has_sound:
                codecs.append(str(video.container.streams.audio[0].codec_context.codec.name))
            wanted = "webm" if suffix == "webm" else TARGETS[video.demuxer]
            is_matroska = video.demuxer == "matroska"
        finally:
            video.close()
        container = next((name for name in (wanted, "matroska") if all(takes(name, one) for one in codecs)), None)
        if container is None:
            raise UndecodableError(f"no container takes {' and '.join(codecs)}")
        lead = _time_before_0(media) if has_sound and is_matroska else Fraction(0)
        return cls(media, table, scan_packets(media), container, has_sound, lead)

    @property
    def suffix(self) -> str:
        """Of the files that are made."""
        return SUFFIXES[self.container]

    def copy(self, stretch: Stretch, target: SpoolWriter, *, origin: int | None = None) -> None:
        """Write a stretch into a file; `origin` is the table's time that becomes 0, by default that of its first frame.

        Raises `UndecodableError` where it cannot be copied.
        """
        origin = int(self.table.rows["time"][stretch.first]) if origin is None else origin
        copied = CopiedPackets.of(self.table, self.stored, stretch, origin=origin)
        video = opened(self.media)
        try:
            self._write(video, stretch, copied, target, origin * self.table.time_base)
        except av_errors() as error:
            raise UndecodableError(f"its packets cannot be copied ({words_of(error)})") from error
        finally:
            video.close()

    def _write(
        self, template: OpenedVideo, stretch: Stretch, copied: CopiedPackets, target: SpoolWriter, origin: Fraction
    ) -> None:
        with import_av().open(
            target, "w", format=self.container, options=container_options(self.container, self.table)
        ) as container:
            pictures = container.add_stream_from_template(template.stream, opaque=True)
            pictures.time_base = self.table.time_base
            if self.table.pixel_aspect != 1:
                pictures.codec_context.sample_aspect_ratio = self.table.pixel_aspect
            packets = [timed(self._pictures(stretch, copied, pictures))]
            if self.has_sound:
                track = template.container.streams.audio[0]
                sound = container.add_stream_from_template(track, opaque=True)
                packets.append(timed(self._sound(stretch, sound, origin)))
            for _, _, packet in heapq.merge(*packets, key=lambda one: one[:2]):
                container.mux(packet)

    def _pictures(self, stretch: Stretch, copied: CopiedPackets, stream: Any) -> Iterator[Any]:
        both = zip(copied.pts.tolist(), copied.dts.tolist(), strict=True)
        times = dict(zip(copied.numbers.tolist(), both, strict=True))
        has_own_times = bool(self.table.flags & TableFlag.OWN_TIMES)
        for number, packet in video_packets(self.media, self.table, stretch):
            if number not in times:
                continue
            if not has_own_times:
                packet.time_base, packet.duration = self.table.time_base, 1
            packet.pts, packet.dts = times[number]
            packet.stream = stream
            yield packet

    def _sound(self, stretch: Stretch, stream: Any, origin: Fraction) -> Iterator[Any]:
        """The sound from when the first frame is shown until the first of the next stretch is.

        What is heard before the first frame of the whole video, or after its last, is with that frame, as far as the
        container has times below 0.
        """
        table, begin, end = self.table, None, None
        if stretch.first or self.container != "mp4":
            lead = 0 if stretch.first else self.sound_lead
            begin = int(table.rows["time"][stretch.first]) * table.time_base - lead
        if stretch.stop < len(table):
            end = int(table.rows["time"][stretch.stop]) * table.time_base
        return moved_sound(sound_packets(self.media, begin, end), stream, origin)


def _time_before_0(media: Member) -> Fraction:
    """How long before time 0 the sound begins: what its decoder leaves out, which containers like this can say."""
    for packet in sound_packets(media, None, None):
        return max(Fraction(0), -(packet.pts or 0) * _base_of(packet))
    return Fraction(0)


def container_options(container: str, table: FrameTable) -> dict[str, str]:
    """For writing a container with the times of a table: nothing but what it is given, at the times it is given."""
    options = {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}
    if container == "mp4":
        options["video_track_timescale"] = str(table.time_base.denominator)
    return options


def moved_sound(packets: Iterator[Any], stream: Any, origin: Fraction) -> Iterator[Any]:
    """Packets for a stream that is written, in which `origin` seconds are 0."""
    for packet in packets:
        shift = round(origin / _base_of(packet))
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        packet.stream = stream
        yield packet


def timed(packets: Iterator[Any]) -> Iterator[tuple[Fraction, int, Any]]:
    """Each packet with its decoding time in seconds, and a number that tells tracks apart."""
    for packet in packets:
        time = packet.dts if packet.dts is not None else packet.pts
        yield time * _base_of(packet), int(packet.stream_index), packet


def _base_of(packet: Any) -> Fraction:
    return positive(packet.time_base) or Fraction(1, 1000)


def has_sound_track(video: OpenedVideo) -> bool:
    """Whether there is a sound track of a codec that is known."""
    streams = video.container.streams.audio
    return bool(streams) and streams[0].codec_context is not None


@lru_cache(maxsize=8)
def _codecs_of(container: str) -> frozenset[str]:
    with import_av().open(io.BytesIO(), "w", format=container) as output:
        return frozenset(output.supported_codecs)


def takes(container: str, codec: str) -> bool:
    """Whether a container of FFmpeg takes what a decoder or encoder of this name is for."""
    return codec in _codecs_of(container)
