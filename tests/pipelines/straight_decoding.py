"""The witness for video decoders: a whole file by plain PyAV, from its first byte to its last, without a seek."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from .numbered_frames import Pixels


@dataclass(frozen=True)
class Straight:
    """What a video decodes to, from its first byte to its last, in output order.

    frames   (height, width, 3) uint8 each, turned as a player turns them
    pts      in units of the stream's time base; None where there is none
    corrupt  whether the decoder said of a frame that it is damaged
    errors   what was raised, by packets that are missing here and by the container that ended early
    """

    time_base: Fraction  # of the stream: in PyAV 18 frames that `decode(None)` gives have none
    frames: list[Pixels] = field(default_factory=list)
    pts: list[int | None] = field(default_factory=list)
    corrupt: list[bool] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def seconds(self) -> list[Fraction | None]:
        """When each frame is shown."""
        return [None if pts is None else pts * self.time_base for pts in self.pts]

    @property
    def pixels(self) -> Pixels:
        """All frames in one array: (frame, height, width, 3) uint8."""
        return np.stack(self.frames)


def decode_straight(
    path: Path, *, stream: int = 0, size: tuple[int, int] | None = None, skip_errors: bool = True
) -> Straight:
    """Decode a whole file by PyAV, in one thread, without a seek.

    `stream` counts the video streams; `size` is the (height, width) of the turned frames, by default their own;
    scaling is bilinear, with chroma for every pixel. What a packet raises is noted and skipped, as a player would do,
    unless `skip_errors` is off.
    """
    reformatter = VideoReformatter()
    with av.open(str(path)) as container:
        video = container.streams.video[stream]
        straight = Straight(Fraction(str(video.time_base)))
        video.codec_context.thread_count = 1
        for packet in _packets_and_end(container, video, straight.errors, skip_errors):
            try:
                decoded = video.decode(packet)
            except av.FFmpegError as error:
                if not skip_errors:
                    raise
                straight.errors.append(str(error))
                continue
            for frame in decoded:
                _append(straight, frame, reformatter, size)
    return straight


def _packets_and_end(container: Any, video: Any, errors: list[str], skip_errors: bool) -> Iterator[Any]:
    """The packets, and None to have the decoder give what it holds back, also where the container ends early."""
    try:
        yield from (packet for packet in container.demux(video) if packet.size)
    except av.FFmpegError as error:
        if not skip_errors:
            raise
        errors.append(str(error))
    yield None


def _append(straight: Straight, frame: Any, reformatter: VideoReformatter, size: tuple[int, int] | None) -> None:
    quarters = round(frame.rotation / 90)  # counterclockwise, as np.rot90 turns
    height, width = size or (None, None)
    if quarters % 2:
        height, width = width, height
    how = Interpolation.BILINEAR
    if size is not None:
        how |= Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
    picture = reformatter.reformat(frame, width, height, "rgb24", interpolation=how, threads=1)
    straight.frames.append(np.ascontiguousarray(np.rot90(picture.to_ndarray(), quarters)))
    straight.pts.append(frame.pts)
    straight.corrupt.append(bool(frame.is_corrupt))
