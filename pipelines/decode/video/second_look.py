"""A video decoded once more, by a new decoder from every key on, to find frames that do not come out alike.

Some decoders conceal damage by what they decoded before, or leave what they cannot decode as memory happens to be, and
say nothing. Such a frame is another one after a seek. Frames are held back, so that memory is used in another order.

    first decode     key1 · · · key2 · · · key3 · · ·       one decoder
    second look      key1 · · ·│key2 · · ·│key3 · · ·       a new one each time
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...sources.located import Member
from .av_package import av_errors
from .frame_checksums import frame_crc32
from .opened_video import OpenedVideo
from .whole_video import Decoded

__all__ = ["unlike_packets"]

HELD_FRAMES = 6

Place: TypeAlias = tuple[int, int]
"""The packet of a frame, and which of its frames it is."""


def unlike_packets(
    media: Member, frames: Sequence[Decoded], key_of: NDArray[np.int64], *, max_pixels: int | None = None
) -> set[int]:
    """Packets whose frames come out otherwise, or not at all, when decoding begins at their key: that of each frame.

    Frames that are stored behind the next key and shown before it are not compared.
    """
    starts: list[int] = np.unique(key_of).tolist()
    look = _Look(media, frozenset(starts), max_pixels)
    try:
        again = look.decode()
    finally:
        look.close()
    counts, found = Counter[int](), set[int]()
    for frame, key in zip(frames, key_of.tolist(), strict=True):
        place = frame.packet, counts[frame.packet]
        counts[frame.packet] += 1
        if key == starts[bisect_right(starts, frame.packet) - 1] and again.get(place) != frame.crc32:
            found.add(frame.packet)
    return found


class _Look:
    """Decodes a video, by a new decoder from each of the `starts` on."""

    def __init__(self, media: Member, starts: frozenset[int], max_pixels: int | None) -> None:
        self._video = OpenedVideo(media, max_pixels=max_pixels)
        self._decoder = self._video.context
        self._starts = starts
        self._held = deque[Any](maxlen=HELD_FRAMES)
        self._sums = dict[Place, int]()
        self._counts = Counter[int]()

    def decode(self) -> dict[Place, int]:
        """The checksums of all frames that come out."""
        number = -1
        for number, packet in enumerate(self._video.demux()):
            if number in self._starts:
                self._feed(None, number - 1)
                self._decoder = self._video.new_decoder()
            if packet.size:
                packet.opaque = [number]
                self._feed(packet, number)
        self._feed(None, number)
        return self._sums

    def _feed(self, packet: Any, number: int) -> None:
        try:
            found = self._decoder.decode(packet)
        except av_errors():
            return
        for frame in found:
            made_by = self._video.packet_of(frame, number)
            self._sums[made_by, self._counts[made_by]] = frame_crc32(frame)
            self._counts[made_by] += 1
            self._held.append(frame)

    def close(self) -> None:
        self._held.clear()
        self._video.close()
