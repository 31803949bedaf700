"""What is in videos, and what a random clip of them costs: as they are, and with a key frame every few frames.

Frames that are decoded for a clip are counted, from the frame tables: those from its key frame on, and those that are
stored between its own. Bytes are an estimate: a stretch of the video is encoded, with that many key frames and with
one, and the rest of the video is taken to be like it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ...decode.errors import UndecodableError
from ...decode.video.measuring_process import measure_apart
from ...sources.located import Member
from ...storage.frame_table import FrameFlag, FrameTable, TableFlag
from ...storage.listing import SourceFile
from ..source_reader import SourceReader, UnpackableError
from ..wording import counted, printable
from .spool import Spool, SpooledMedia
from .video import VideoSettings
from .video_copying import VideoCopier
from .video_encoders import ENCODERS, USUAL_GOP
from .video_encoding import Encoding
from .video_examples import source_member
from .video_packets import Stretch

__all__ = ["CLIP_FRAMES", "decoded_per_clip", "explain_videos"]

CLIP_FRAMES = 16
STRETCH_FRAMES = 64
OTHER_NAMES = {"dav1d": "av1", "aom-av1": "av1", "hevc": "h265", "mpeg2vid": "mpeg2", "mpeg1vid": "mpeg1"}
"""What a decoder of FFmpeg is called, as a table has it → its codec."""


@dataclass(frozen=True, slots=True)
class _Clips:
    """Random clips of some videos: how many there are, and how many frames are decoded for all of them together."""

    num: int = 0
    decoded: int = 0

    def __add__(self, other: _Clips) -> _Clips:
        return _Clips(self.num + other.num, self.decoded + other.decoded)

    @property
    def average(self) -> float:
        return self.decoded / max(1, self.num)


@dataclass(frozen=True, slots=True)
class _Total:
    """Of several videos: bytes as they are and as they would be, frames, broken ones, and clips in both."""

    bytes: int = 0
    new_bytes: int = 0
    frames: int = 0
    broken: int = 0
    clips: _Clips = _Clips()
    new_clips: _Clips = _Clips()

    def __add__(self, other: _Total) -> _Total:
        return _Total(
            self.bytes + other.bytes,
            self.new_bytes + other.new_bytes,
            self.frames + other.frames,
            self.broken + other.broken,
            self.clips + other.clips,
            self.new_clips + other.new_clips,
        )


def explain_videos(folder: Path, files: Sequence[SourceFile], settings: VideoSettings) -> Iterator[str]:
    """Lines on each video, and on all of them. Raises as `VideoSettings.check` does."""
    encoding = settings.encoding or Encoding("h264", USUAL_GOP, ENCODERS["h264"].usual_quality, None, True)
    total, num_read = _Total(), 0
    for file in files:
        yield printable(file.path)
        try:
            with SourceReader(folder, file.path, file.size) as reader:
                media = source_member(reader)
                table = measure_apart(media, max_pixels=settings.max_pixels)
                yield from _lines(_facts(file, table))
                estimate = _Estimate.of(media, file, table, encoding)
        except (UndecodableError, UnpackableError) as error:
            yield from _lines({"refused": [str(error)]})
            continue
        yield from _lines({_label(encoding): estimate.said})
        total, num_read = total + estimate.total, num_read + 1
    if num_read > 1:
        yield f"all {counted(num_read, 'video')}"
        yield from _lines(_summary(total, encoding))


def _lines(facts: dict[str, list[str]]) -> Iterator[str]:
    """Facts with their names before them; further lines of a fact stand below the first."""
    width = max(8, *map(len, facts))
    for name, said in facts.items():
        yield from (f"  {name if not number else '':<{width}}  {line}" for number, line in enumerate(said))


def _label(encoding: Encoding) -> str:
    return f"--gop {encoding.gop}"


def _facts(file: SourceFile, table: FrameTable) -> dict[str, list[str]]:
    (height, width), codec = table.size, OTHER_NAMES.get(table.codec, table.codec)
    begin, end = int(table.rows["time"][0]), int(table.head["end"])
    seconds = float((end - begin) * table.time_base)
    sound = "with sound" if table.flags & TableFlag.HAS_SOUND else "no sound"
    broken = f", {len(table.broken):,} broken" if len(table.broken) else ""
    return {
        "format": [f"{file.suffix}, {codec}, {width:,} × {height:,}, {sound}, {_bytes(file.size)}"],
        "frames": [f"{len(table):,}{broken}; {seconds:,.1f} s, {_rate(table)}"],
        "keys": [_keys(table)],
        "clips": [f"{decoded_per_clip(table).average:,.1f} frames decoded for {CLIP_FRAMES} at random"],
    }


def _rate(table: FrameTable) -> str:
    steadiness = "constant" if table.flags & TableFlag.EVEN_TIMES else "variable"
    if not table.flags & TableFlag.OWN_TIMES:
        steadiness = "counted, as its time stamps do not rise"
    return f"{float(table.rate):,.6g} per second, {steadiness}"


def _keys(table: FrameTable) -> str:
    starts = _key_starts(table)
    flags = table.rows["flags"][starts[1:]]
    num_open = int((flags & FrameFlag.CLEAN == 0).sum())
    lengths = np.diff([*starts, len(table)])
    gops = f"{lengths.min():,}, {int(np.median(lengths)):,}, {lengths.max():,} frames (shortest, median, longest)"
    return (
        f"{len(starts):,}, {num_open:,} open; every {f'{lengths[0]:,} frames' if len(set(lengths)) == 1 else gops}"
    )


def _key_starts(table: FrameTable) -> list[int]:
    """The ordinals at which decoding can begin."""
    return [0, *(np.flatnonzero(np.diff(table.rows["key_packet"])) + 1).tolist()]


def decoded_per_clip(table: FrameTable, num_frames: int = CLIP_FRAMES) -> _Clips:
    """Over all clips of a video: packets from the key of its first frame to the last that one of its frames needs."""
    num_frames = min(num_frames, len(table))
    windows = np.lib.stride_tricks.sliding_window_view(table.rows["packet"], num_frames)
    decoded = windows.max(axis=1) - table.rows["key_packet"][: len(windows)] + 1
    return _Clips(len(windows), int(decoded.sum()))


def _with_keys_every(gop: int, num_frames: int, total: int) -> _Clips:
    """The same where every gop-th frame of a video is a key, and frames are stored in the order they are shown."""
    clip = min(num_frames, total)
    starts = np.arange(total - clip + 1)
    return _Clips(len(starts), int((starts % gop + clip).sum()))


@dataclass(frozen=True, slots=True)
class _Estimate:
    """What encoding a video again would make of it, in lines, and what it adds to the total."""

    said: list[str]
    total: _Total

    @classmethod
    def of(cls, media: Member, file: SourceFile, table: FrameTable, encoding: Encoding) -> _Estimate:
        clips, new_clips = decoded_per_clip(table), _with_keys_every(encoding.gop, CLIP_FRAMES, len(table))
        said = [f"{new_clips.average:,.1f} frames decoded for {CLIP_FRAMES} at random; "]
        try:
            growth, of_keys, num = _growth(media, file, table, encoding)
        except UndecodableError as error:
            growth, said = 1.0, [f"{said[0]}no estimate of its bytes: {error}"]
        else:
            said[0] += f"about {_bytes(round(file.size * growth))}, × {growth:.2f}"
            resized = "" if encoding.resize is None else f", shorter side {encoding.resize:,}"
            how = f"{encoding.codec}, crf {encoding.quality}{resized}"
            said.append(f"({how}: {counted(num, 'frame')} encoded; × {of_keys:.2f} is for the key frames)")
        total = _Total(file.size, round(file.size * growth), len(table), len(table.broken), clips, new_clips)
        return cls(said, total)


def _growth(media: Member, file: SourceFile, table: FrameTable, encoding: Encoding) -> tuple[float, float, int]:
    """By what the bytes of a video would grow, how much of that is its key frames, and the frames it is known by."""
    with Spool() as spool:
        sample, sampled = _sample(media, file, table, spool)
        many, one = (
            _encoded_bytes(sample, sampled, gop, encoding, spool) for gop in (encoding.gop, len(sampled) + 1)
        )
    before = int(sampled.rows["size"].sum())
    pictures = int(table.rows["size"].sum()) / max(1, file.size)
    return 1 + (many / max(1, before) - 1) * min(1.0, pictures), many / max(1, one), len(sampled)


def _sample(media: Member, file: SourceFile, table: FrameTable, spool: Spool) -> tuple[Member, FrameTable]:
    """A stretch of a video from the middle, as a file of its own."""
    middle = max(0, len(table) - STRETCH_FRAMES) // 2
    clean = np.flatnonzero(table.rows["flags"] & FrameFlag.CLEAN)
    first = int(clean[clean <= middle].max(initial=0))
    stop = min(len(table), first + STRETCH_FRAMES)
    last_packet = int(table.rows["packet"][first:stop].max()) + 1
    writer = spool.writer()
    copier = VideoCopier.of(media, table, file.suffix, no_audio=True)
    copier.copy(Stretch(first, stop, int(table.rows["key_packet"][first]), last_packet), writer)
    copy: SpooledMedia = spool.keep(writer)
    return copy.member, measure_apart(copy.member)


def _encoded_bytes(sample: Member, table: FrameTable, gop: int, encoding: Encoding, spool: Spool) -> int:
    writer = spool.writer()
    Encoding(encoding.codec, gop, encoding.quality, encoding.resize, True).encode(sample, table, writer)
    return spool.keep(writer).size


def _bytes(num: int) -> str:
    return f"{num / 1e6:,.1f} MB" if num >= 1_000_000 else f"{num / 1e3:,.0f} kB"


def _summary(total: _Total, encoding: Encoding) -> dict[str, list[str]]:
    broken = f", {total.broken:,} broken" if total.broken else ""
    growth = Fraction(total.new_bytes, max(1, total.bytes))
    return {
        "frames": [f"{total.frames:,}{broken}; {_bytes(total.bytes)}"],
        "clips": [f"{total.clips.average:,.1f} frames decoded for {CLIP_FRAMES} at random"],
        _label(encoding): [
            f"{total.new_clips.average:,.1f} frames decoded for {CLIP_FRAMES} at random; "
            f"about {_bytes(total.new_bytes)}, × {float(growth):.2f}"
        ],
    }
