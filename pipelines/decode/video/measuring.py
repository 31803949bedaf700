"""What a video really holds, found by demuxing and decoding all of it once: headers and time stamps lie.

Every packet is numbered, and the decoder says of each frame which packet made it, so the order of the table is that in
which frames come out, whatever their time stamps are.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...sources.located import Member
from ...storage.frame_table import (
    FRAME_DTYPE,
    HEAD_DTYPE,
    MAX_PACKETS,
    MAX_SIZE,
    MAX_TIME,
    TABLE_VERSION,
    FrameFlag,
    FrameRows,
    FrameTable,
    TableFlag,
)
from ..errors import UndecodableError
from .av_package import av_errors
from .opened_video import OpenedVideo, positive
from .second_look import unlike_packets
from .whole_video import Decoded, Packets, WholeVideo

__all__ = ["measure_video"]

SEEK_BY_DTS = ("mpegts", "mpeg")
"""Readers that look for decoding time stamps; the others look for the time at which a frame is shown."""

MOST_TERM = (1 << 31) - 1
MOST_GAP = 1 << 20
MOST_LAST_SECONDS = 3600
"""What says that a video's last frame, or the average one, is shown for longer is not believed."""
SOUND_PACKETS = 64


def measure_video(
    media: Member,
    *,
    max_pixels: int | None = None,
    on_packet: Callable[[], None] = lambda: None,
    on_frame: Callable[[Any, int], None] = lambda frame, packet: None,
) -> FrameTable:
    """The frame table of a video.

    `on_packet` is called before each packet is decoded, `on_frame` with each decoded frame, broken ones as well, and
    the number of its packet. Raises `UndecodableError` where not one frame can be decoded.
    """
    video = OpenedVideo(media, max_pixels=max_pixels)
    try:
        whole = WholeVideo(video, media, max_pixels=max_pixels, on_packet=on_packet, on_frame=on_frame)
        whole.decode()
        video.check_reading()
        if not whole.frames:
            raise UndecodableError("damaged: none of its frames can be decoded")
        head = _head(video)
    finally:
        video.close()
    if video.may_conceal:
        _, key_of = _keys(whole.packets, whole.frames)
        whole.packets.damaged |= unlike_packets(media, whole.frames, key_of, max_pixels=max_pixels)
    rows, is_broken, flags, time_base, rate, end = _rows(whole.packets, whole.frames, head)
    if is_broken.all():
        raise UndecodableError("damaged: none of its frames can be decoded without errors")
    good, broken = rows[~is_broken], rows[is_broken]
    picture = whole.frames[int(np.flatnonzero(~is_broken)[0])].picture
    head["width"], head["height"], head["turns"] = picture.width, picture.height, picture.turns
    head["channels"] = picture.channels
    if _has_sound(media, max_pixels):
        flags |= TableFlag.HAS_SOUND
    head["flags"], head["frames"], head["broken"], head["end"] = int(flags), len(good), len(broken), end
    head["time_numerator"], head["time_denominator"] = time_base.numerator, time_base.denominator
    head["rate_numerator"], head["rate_denominator"] = rate.numerator, rate.denominator
    return FrameTable(head.reshape(1)[0], good, broken)


def _head(video: OpenedVideo) -> NDArray[np.void]:
    """What the container says, its times as it has them."""
    head = np.zeros((), HEAD_DTYPE)
    aspect = _aspect(video)
    head["version"], head["stream"] = TABLE_VERSION, int(video.stream.index)
    head["aspect_numerator"], head["aspect_denominator"] = aspect.numerator, aspect.denominator
    head["codec"] = video.codec.removeprefix("lib").encode("ascii", "replace")[:8]
    flags = TableFlag.SEEK_BY_DTS if video.demuxer in SEEK_BY_DTS else TableFlag(0)
    head["flags"] = int(flags)
    average = positive(video.stream.average_rate)
    head["time_numerator"], head["time_denominator"] = _terms(video.time_base)
    if average is not None:
        head["rate_numerator"], head["rate_denominator"] = _terms(average)
    return head


def _aspect(video: OpenedVideo) -> Fraction:
    """Width of a pixel through its height: what the container says, else the codec, as ffmpeg has it."""
    for found in (video.stream.sample_aspect_ratio, video.context.sample_aspect_ratio):
        aspect = positive(found)
        if aspect is not None and Fraction(1, 64) <= aspect <= 64:
            return Fraction(*_terms(aspect))
    return Fraction(1)


def _terms(value: Fraction) -> tuple[int, int]:
    """Numerator and denominator that fit a table."""
    if value.numerator <= MOST_TERM and value.denominator <= MOST_TERM:
        return value.numerator, value.denominator
    near = value.limit_denominator(1 << 20)
    if not 0 < near.numerator <= MOST_TERM:
        raise UndecodableError(f"its rates cannot be: {float(value):g}")
    return near.numerator, near.denominator


def _rows(
    packets: Packets, frames: list[Decoded], head: NDArray[np.void]
) -> tuple[FrameRows, NDArray[np.bool_], TableFlag, Fraction, Fraction, int]:
    """Records of all frames and of packets whose frames never came, which of them are broken, and their times."""
    made_by = np.array([frame.packet for frame in frames], np.int64)
    base = Fraction(int(head["time_numerator"]), int(head["time_denominator"]))
    average = (
        Fraction(int(head["rate_numerator"]), int(head["rate_denominator"])) if head["rate_numerator"] else None
    )
    keys, key_of = _keys(packets, frames)
    is_broken = _broken(packets, made_by, key_of)
    flags = TableFlag(int(head["flags"]))
    times = _own_times(frames)
    if times is not None:
        flags |= TableFlag.OWN_TIMES
        rate, end, is_even = _rate_of(times[~is_broken], _last_duration(frames, is_broken), base, average)
    else:
        rate = Fraction(*_terms(average or Fraction(25)))
        base, times, end, is_even = 1 / rate, np.arange(len(frames)), len(frames), True
    if is_even:
        flags |= TableFlag.EVEN_TIMES
    seeks = packets.dts if flags & TableFlag.SEEK_BY_DTS else packets.pts
    rows = np.zeros(len(frames), FRAME_DTYPE)
    rows["time"], rows["packet"], rows["key_packet"] = times, made_by, key_of
    rows["seek"] = [_first_known(seeks[key], packets.pts[key], packets.dts[key]) for key in key_of.tolist()]
    rows["position"] = np.array(packets.position)[key_of]
    rows["size"] = np.minimum(np.array(packets.size)[made_by], MAX_SIZE)
    rows["flags"] = [int(keys.get(packet, FrameFlag(0))) for packet in made_by.tolist()]
    rows["flags"][is_broken] |= np.uint32(FrameFlag.BROKEN)
    lost = sorted((packets.damaged | packets.lost) - set(made_by.tolist()))
    missing = np.zeros(len(lost), FRAME_DTYPE)
    missing["packet"], missing["key_packet"] = lost, lost
    missing["time"] = [_first_known(packets.pts[packet], packets.dts[packet], 0) for packet in lost]
    missing["flags"] = int(FrameFlag.BROKEN)
    whole = np.concatenate([rows, missing])
    return whole, np.concatenate([is_broken, np.ones(len(lost), np.bool_)]), flags, base, rate, end


def _first_known(*values: int | None) -> int:
    found = next((value for value in values if value is not None), 0)
    return found if abs(found) < MAX_TIME else 0


def _keys(packets: Packets, frames: list[Decoded]) -> tuple[dict[int, FrameFlag], NDArray[np.int64]]:
    """The key packets at which decoding can begin, each with its flags, and that of each frame.

    Decoding from a key packet gives every frame from its own on, in output order: the frames that are stored behind it
    and shown before it lean on what lies before it. A key packet whose frame is not shown stands before the first
    frame that is shown after it. A packet whose frame leans on others is no key, whatever the file says.
    """
    made_by = np.array([frame.packet for frame in frames], np.int64)
    ordinals = {packet: ordinal for ordinal, packet in reversed(list(enumerate(made_by.tolist())))}
    leaning = {frame.packet for frame in frames if frame.leans}
    earliest = np.minimum.accumulate(made_by[::-1])[::-1]  # the first packet that any frame from here on needs
    begins: dict[int, int] = {}
    for packet in (number for number, is_key in enumerate(packets.is_key) if is_key and number not in leaning):
        begin = ordinals.get(packet)
        if begin is None:
            begin = None if packets.is_shown[packet] else _place_by_time(packets.pts[packet], frames)
        if begin is not None and begin < len(frames) and earliest[begin] >= packet:
            begins[begin] = packet
    first = np.zeros(len(frames), np.int64)
    for begin, packet in begins.items():
        first[begin] = packet
    key_of = np.maximum.accumulate(first) if len(first) else first
    later = np.maximum.accumulate(np.concatenate([[-1], made_by]))  # the last packet of all frames before
    keys = {
        packet: FrameFlag.KEY | (FrameFlag.CLEAN if later[begin] < packet else FrameFlag(0))
        for begin, packet in begins.items()
    }
    return keys, key_of


def _place_by_time(pts: int | None, frames: list[Decoded]) -> int | None:
    """How many frames are shown before a packet's time."""
    if pts is None or any(frame.pts is None for frame in frames):
        return None
    return sum(frame.pts is not None and frame.pts < pts for frame in frames)


def _broken(packets: Packets, made_by: NDArray[np.int64], key_of: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which frames may lean on damage: those with a damaged packet from their key packet to their own."""
    damaged = np.array([*sorted(packets.damaged), MAX_PACKETS], np.int64)
    found: NDArray[np.bool_] = damaged[np.searchsorted(damaged, key_of)] <= made_by
    return found | np.isin(made_by, list(packets.lost))


def _own_times(frames: list[Decoded]) -> NDArray[np.int64] | None:
    """When frames are shown; None where that is not known of each, or does not rise in the order they come out."""
    times = [frame.pts for frame in frames]
    if any(time is None or abs(time) >= MAX_TIME for time in times):
        return None
    found = np.array(times, np.int64)
    return found if (np.diff(found) > 0).all() else None


def _last_duration(frames: list[Decoded], is_broken: NDArray[np.bool_]) -> int:
    good = np.flatnonzero(~is_broken)
    return frames[int(good[-1])].duration if len(good) else 0


def _rate_of(
    times: NDArray[np.int64], last: int, base: Fraction, average: Fraction | None
) -> tuple[Fraction, int, bool]:
    """Frames per second, when the last frame ends, and whether frame n is shown n / rate after the first.

    The declared rate where it explains every time stamp within its rounding, else the average over the whole.
    """
    num = len(times)
    if not num:
        return average or Fraction(25), 0, False
    if average is not None and average * MOST_LAST_SECONDS < 1:
        average = None
    if last * base > MOST_LAST_SECONDS:
        last = 0
    steps = np.diff(times)
    if average is not None and _is_even(times, base, average):
        return average, int(times[0]) + int(num / (average * base) + Fraction(1, 2)), True
    usual = int(np.median(steps)) if len(steps) else 0
    if not 0 < last <= max(MOST_GAP, 16 * usual) and average is not None:
        last = int(1 / (average * base))
    end = int(times[-1]) + max(1, last if last > 0 else usual)
    rate = Fraction(num) / ((end - int(times[0])) * base)
    is_even = len(steps) > 0 and bool((steps == steps[0]).all())
    if is_even:
        rate = 1 / (int(steps[0]) * base)
        end = int(times[-1]) + int(steps[0])
    return Fraction(*_terms(rate)), end, is_even


def _is_even(times: NDArray[np.int64], base: Fraction, rate: Fraction) -> bool:
    """Whether every frame is shown where the rate has it, to within a unit of time, which is then half a frame at most.

    A time stamp that is a whole frame off was not rounded: a frame was dropped.
    """
    step = 1 / (rate * base)
    ideal = (np.arange(len(times)) * step.numerator) / step.denominator
    return bool((np.abs(times - times[0] - ideal) <= (1 if step >= 2 else 0)).all())


def _has_sound(media: Member, max_pixels: int | None) -> bool:
    """Whether a sound track is there that can be decoded."""
    video = OpenedVideo(media, max_pixels=max_pixels)
    try:
        if not video.container.streams.audio:
            return False
        stream = video.container.streams.audio[0]
        for number, packet in enumerate(video.demux(stream)):
            if number >= SOUND_PACKETS or stream.codec_context is None:
                return False
            if packet.size and stream.codec_context.decode(packet):
                return True
    except av_errors():
        return False
    finally:
        video.close()
    return False
