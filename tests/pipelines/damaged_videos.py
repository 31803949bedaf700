"""Videos of many kinds, small enough to be made in a test, and damaged copies of any video: all of it follows from
the file, the kind of damage and a number.

    cut      the first number / 40 of its bytes
    byte     one byte anywhere is another one
    head     … that is not in a packet: indexes, tables, headers of the container
    packet   … at the beginning of a packet, or just before it
    whole    undamaged
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np

from .videos import make_video

__all__ = ["KINDS", "SOURCES", "damaged", "make_source"]

KINDS = ("cut", "byte", "head", "packet", "whole")
NUM_CUTS = 40
H264: dict[str, Any] = {"codec": "libx264", "b_frames": 2}
H265: dict[str, Any] = {"codec": "libx265", "b_frames": 2}
MPEG4: dict[str, Any] = {"codec": "mpeg4", "b_frames": 2}
MPEG2: dict[str, Any] = {"codec": "mpeg2video", "b_frames": 2, "rate": 25}
OPEN: dict[str, Any] = {"b_frames": 3, "open_gop": True}

SOURCES: Mapping[str, dict[str, Any]] = {
    "h264.mp4": {**H264, "sound": "aac"},
    "h264-head-first.mp4": {**H264, "movflags": "+faststart"},
    "h264-fragments.mp4": {**H264, **OPEN, "variable_rate": True, "movflags": "+frag_keyframe+empty_moov"},
    "h264-open.mkv": {**H264, **OPEN},
    "h264-sound.mkv": {**H264, "b_frames": 0, "sound": "libopus"},
    "h264.avi": H264,
    "h264.ts": {**H264, "sound": "aac"},
    "hevc.mp4": {**H265, "movflags": "+faststart"},
    "hevc-open.mkv": {**H265, **OPEN},
    "hevc.ts": H265,
    "mpeg4.mp4": {**MPEG4, "movflags": "+faststart"},
    "mpeg4.avi": {**MPEG4, "sound": "pcm_s16le"},
    "mpeg2.mpg": {**MPEG2, "sound": "mp2"},
    "mpeg2.ts": MPEG2,
    "vp8.webm": {"codec": "libvpx"},
    "vp9.webm": {"codec": "libvpx-vp9", "sound": "libopus"},
    "vp9.mp4": {"codec": "libvpx-vp9", "movflags": "+faststart"},
    "av1.mp4": {"codec": "libsvtav1", "movflags": "+faststart"},
    "av1-open.webm": {"codec": "libsvtav1", "open_gop": True},
    "mjpeg.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "ffv1.mkv": {"codec": "ffv1"},
}
"""File name → settings of `make_video`, and `movflags` of the muxer; every key frame is followed by nine others."""


def make_source(folder: Path, name: str, *, num_frames: int = 30) -> Path:
    """One of `SOURCES`, in a folder."""
    settings = dict(SOURCES[name])
    movflags = settings.pop("movflags", None)
    path = make_video(folder / name, **{"num_frames": num_frames, "size": (64, 48), "gop": 10, **settings})
    if movflags is not None:
        plain = path.rename(folder / f"plain-{name}")
        _copy_packets(plain, path, {"movflags": movflags, "fflags": "+bitexact"})
        plain.unlink()
    return path


def _copy_packets(source: Path, target: Path, options: dict[str, str]) -> None:
    with av.open(str(source)) as read, av.open(str(target), "w", options=options) as written:
        streams = {one.index: written.add_stream_from_template(one, opaque=True) for one in read.streams}
        for packet in read.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                written.mux(packet)


def damaged(path: Path, kind: str, number: int) -> bytes:
    """The bytes of a damaged copy; those of "cut" are at least one."""
    content = path.read_bytes()
    if kind == "whole":
        return content
    if kind == "cut":
        return content[: max(1, len(content) * number // NUM_CUTS)]
    rng = np.random.default_rng([zlib.crc32(path.name.encode()), zlib.crc32(kind.encode()), number])
    place = _place(path, kind, len(content), rng)
    return content[:place] + bytes([content[place] ^ int(rng.integers(1, 256))]) + content[place + 1 :]


def _place(path: Path, kind: str, size: int, rng: np.random.Generator) -> int:
    if kind == "byte":
        return int(rng.integers(size))
    places = _packets(path)
    if kind == "packet":
        begin = places[int(rng.integers(len(places)))][0] + int(rng.integers(-8, 24))
        return min(max(begin, 0), size - 1)
    is_free = np.ones(size, np.bool_)
    for begin, length in places:
        is_free[begin : begin + length] = False
    free = np.flatnonzero(is_free)
    return int(free[rng.integers(len(free))])


def _packets(path: Path) -> list[tuple[int, int]]:
    """First byte and length of every packet of all streams."""
    with av.open(str(path)) as container:
        found = [(one.pos, one.size) for one in container.demux() if one.size and one.pos is not None]
    return sorted(found)
