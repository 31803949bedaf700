"""The witness for damaged videos: plain PyAV from a packet on to the end, and which packet made each frame."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

__all__ = ["Decode", "decode_by_packet", "digest"]

Place: TypeAlias = tuple[int, int]
"""The number of a packet in the stream, and which of its frames it is."""

FORMATS = {".ts": "mpegts", ".mpg": "mpeg", ".avi": "avi", ".mkv": "matroska", ".webm": "matroska"}
SHOW_AGAIN = ("vp8", "vp9")  # at once, with the mark of another packet


@dataclass
class Decode:
    """Digests of the frames by their place, in output order; their upright (height, width); packets with errors."""

    digests: dict[Place, int] = field(default_factory=dict)
    sizes: dict[Place, tuple[int, int]] = field(default_factory=dict)
    damage: set[int] = field(default_factory=set)


def digest(pixels: NDArray[np.uint8]) -> int:
    """Of a frame (height, width, 3), upright."""
    return zlib.crc32(np.ascontiguousarray(pixels).data)


def decode_by_packet(path: Path, *, begin: int = 0) -> Decode:
    """What comes out of a fresh decoder that is fed packets from number `begin` on; errors are passed over."""
    found, counts, reformatter = Decode(), Counter[int](), VideoReformatter()
    with av.open(str(path), format=FORMATS.get(path.suffix, "mov"), metadata_errors="replace") as container:
        stream: Any = next(one for one in container.streams.video if not int(one.disposition) & 1 << 10)
        context = stream.codec_context
        context.thread_count, context.copy_opaque = 1, True
        for number, packet in _numbered(container, stream):
            if number < begin and packet is not None:
                continue
            for frame in _fed(context, packet, number, found):
                again = context.codec.name in SHOW_AGAIN or not frame.opaque
                made_by = number if again else int(frame.opaque[0])
                place = made_by, counts[made_by]
                counts[made_by] += 1
                pixels = _pixels(frame, reformatter)
                found.digests[place], found.sizes[place] = digest(pixels), pixels.shape[:2]
                if frame.is_corrupt:
                    found.damage.add(made_by)
    return found


def _numbered(container: Any, stream: Any) -> Iterator[tuple[int, Any]]:
    """The packets and their numbers, and None at the end, also where the container ends early."""
    number, packets = -1, container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, IndexError):
            packet = None
        if packet is None:
            yield number, None
            return
        if packet.size or packet.pts is not None or packet.dts is not None:
            number += 1
        if packet.size:
            packet.opaque = [number]
            yield number, packet


def _fed(context: Any, packet: Any, number: int, found: Decode) -> list[Any]:
    try:
        return list(context.decode(packet))
    except av.FFmpegError:
        found.damage.add(number)
        return []


def _pixels(frame: Any, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    picture = reformatter.reformat(frame, format="rgb24", interpolation=Interpolation.BILINEAR, threads=1)
    return np.rot90(picture.to_ndarray(), round(frame.rotation / 90))
