"""Where the frames of an mp3 lie, so that a decoder can begin in the midst of one: it has no table of its own.

    file          tags | info frame | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | …      frames of 1152 (or 576) samples
    from step 1          info frame |                 4 | 5 | 6 | 7 | 8 | …      a step is 4608 samples

A decoder that is given the second line plays what it would have played from there, once its bit reservoir is filled.
The info frame (Xing's and LAME's) tells how long the whole is; without one a decoder guesses from the first frame's bit
rate, and stops there, so one is made. Frames: ISO/IEC 11172-3 and 13818-3, layer III.

Other bytes may stand before the first frame, or a part of one. libsndfile plays such a file where its name ends in mp3;
here it has no name, and the first frame is searched for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...storage.blob import Read

__all__ = [
    "STEP_SAMPLES",
    "Mp3Frames",
    "behind_tags",
    "first_frame",
    "guess_frames",
    "has_empty_frames",
    "scan_mp3",
]

LEAST_FREE_BYTES = 13
"""Of a frame of free format: its header, and the side information of the shortest kind."""

STEP_SAMPLES = 4608
"""Also the samples after which mpg123's synthesis is in the same phase, from where its sums are rounded alike."""

AT_ONCE = 1 << 20
MOST_TAGS = 16
MOST_JUNK = 1 << 16
"""Bytes that mpg123 passes over in search of the first frame."""

CHAIN = 4
"""Frames of one kind that must follow each other where a search is to believe in them: noise has 2 in a gigabyte."""

LONGEST_FRAME = 1441
ID3V1_BYTES = 128
MOST_SIZE = 0xFFFFFFFF
BREAK = b"\0"
"""Behind it a decoder has to find the next frame, and forgets what it held for it: a first frame that was cut out of a
stream would take silence for what it lacks, and sound like a shot."""

INFO_BYTES = 200
DECODER_DELAY = 529
KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
RATE_BITS = 0x0C
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8000)}  # by the version bits
TRAILERS = (b"TAG", b"APE", b"ID3", b"LYR")


@dataclass(frozen=True)
class Mp3Frames:
    """The byte offset of every step of frames, (steps,) int64, and the info frame.

    `info` stands before step 0, `later_info` before a later one; `made` says that the file has none and they were made.
    """

    info: bytes
    later_info: bytes
    offsets: NDArray[np.int64]
    made: bool

    def begin_of(self, step: int) -> int:
        """The sample that is played first where a file begins with this step."""
        return step * STEP_SAMPLES + (DECODER_DELAY if self.made and step else 0)

    def read_from(self, step: int, read: Read, size: int) -> tuple[Read, int]:
        """The file of `size` bytes without the frames before a step: how to read it, and its size."""
        info = self.later_info if step else self.info
        shift = int(self.offsets[step]) - len(info)
        info = _sized(info, size - shift)

        def shifted(offset: int, length: int) -> bytes:
            if offset >= len(info):
                return read(offset + shift, length)
            begin = info[offset : offset + length]
            return begin + read(offset + len(begin) + shift, length - len(begin)) if len(begin) < length else begin

        return shifted, size - shift


class FrameKind:
    """What all frames of a file have in common with the first: version, rate, one channel or two."""

    def __init__(self, header: bytes) -> None:
        self.header, self.is_mono = header, header[3] >> 6 == 3
        self.samples = _frame_samples(header)
        self.lengths = [0] * 256  # bytes of a frame by the third byte of its header, 0 for what cannot follow
        for third in range(256):
            if not (third ^ header[2]) & RATE_BITS and 0 < third >> 4 < 15:
                self.lengths[third] = frame_bytes(bytes((0xFF, header[1], third, header[3])))

    def length(self, block: bytes, at: int) -> int:
        """Bytes of the frame whose header stands in a block, 0 where none of this kind does."""
        alike = block[at] == 0xFF and not (block[at + 1] ^ self.header[1]) & 0xFE
        return self.lengths[block[at + 2]] if alike and (block[at + 3] >> 6 == 3) == self.is_mono else 0

    def make_info(self, num_frames: int) -> tuple[bytes, bytes]:
        """Info frames for this many frames: before the first of them, and before a later one.

        After one, mpg123 leaves out its own delay of 529 samples, which it does not in a bare file. So the first is
        followed by a step of silence and a break, and has a LAME part that tells to leave out that as a whole.
        """
        low_bits = self.header[2] & (RATE_BITS | 1)  # no padding
        third = min(t for t in range(256) if self.lengths[t] >= INFO_BYTES and t & 0x0F == low_bits)
        silent = bytes((0xFF, self.header[1] | 1, third, self.header[3])).ljust(self.lengths[third], b"\0")
        num_silent = STEP_SAMPLES // self.samples
        tag = b"Info" + (1).to_bytes(4, "big") + (num_frames + num_silent).to_bytes(4, "big")
        later = silent[: _tag_place(silent)] + tag
        info = later + b"LAME".ljust(21, b"\0") + (STEP_SAMPLES - DECODER_DELAY << 12).to_bytes(3, "big")
        return info + silent[len(info) :] + silent * num_silent + BREAK, later + silent[len(later) :]


def scan_mp3(read: Read, size: int) -> Mp3Frames | None:
    """Walk over the frame headers of a file. None where they do not follow each other as they should to its end.

    Every frame must be of one kind; the last may be cut off, and tags may follow it.
    """
    first = behind_tags(read, size)
    header = read(first, 4)
    if not _is_header(header):
        return None
    kind = FrameKind(header)
    frame = read(first, kind.length(header, 0))
    if frame[36:40] == b"VBRI" or not frame:
        return None
    info = frame if _is_info(frame) else b""
    found = _walk(read, kind, first + len(info), size)
    if found is None or not found[0]:
        return None
    offsets, num_frames = found
    infos = (info, info) if info else kind.make_info(num_frames)
    return Mp3Frames(*infos, np.array(offsets, np.int64), made=not info)


def first_frame(read: Read, size: int) -> int | None:
    """The offset of the first frame of an mp3, after tags and up to 64 KiB of other bytes; None if no frame is found.

    A piece of a stream may begin in the middle of a frame. Frames count where `CHAIN` of them follow each other.
    """
    begin = behind_tags(read, size)
    block = read(begin, MOST_JUNK + CHAIN * LONGEST_FRAME)
    place = block.find(b"\xff", 0, MOST_JUNK)
    while place >= 0:
        if _begins_chain(block, place):
            return begin + place
        place = block.find(b"\xff", place + 1, MOST_JUNK)
    return None


def has_empty_frames(read: Read, size: int) -> bool:
    """Whether it begins with frames of free format that are too short for the first of their parts.

    mpg123 tries each of them in turn, and complains of each: seconds for a file of some hundred KB.
    """
    block = read(behind_tags(read, size), 64)
    if len(block) < 4 or block[0] != 0xFF or block[1] & 0xE6 != 0xE2 or block[2] >> 4:
        return False
    return 0 < block.find(block[:2], 4) < LEAST_FREE_BYTES


def _begins_chain(block: bytes, place: int) -> bool:
    first = block[place : place + 4]
    for _ in range(CHAIN):
        header = block[place : place + 4]
        if not _is_header(header) or not _are_alike(header, first):
            return False
        place += frame_bytes(header)
    return place <= len(block)


def _are_alike(header: bytes, other: bytes) -> bool:
    """Whether two headers agree in version, layer, rate, and in being mono or not."""
    is_other = (header[1] ^ other[1]) & 0xFE or (header[2] ^ other[2]) & RATE_BITS
    return not is_other and (header[3] >> 6 == 3) == (other[3] >> 6 == 3)


def frame_bytes(header: bytes) -> int:
    """Bytes of the frame of a header."""
    return _frame_samples(header) // 8 * _bits_per_second(header) // _sample_rate(header) + (header[2] >> 1 & 1)


def guess_frames(read: Read, size: int, junk: int) -> int:
    """How many samples libsndfile guesses to be in an mp3 of `size` bytes behind `junk` others.

    It takes all of them, but for an ID3v1 tag, for frames as long as the first.
    """
    header, has_tag = read(0, 4), read(max(0, size - ID3V1_BYTES), 3) == b"TAG"
    return (size + junk - has_tag * ID3V1_BYTES) * _frame_samples(header) // frame_bytes(header)


def _frame_samples(header: bytes) -> int:
    return 1152 if header[1] >> 3 & 3 == 3 else 576


def _bits_per_second(header: bytes) -> int:
    return (KBITS_1 if header[1] >> 3 & 3 == 3 else KBITS_2)[header[2] >> 4] * 1000


def _sample_rate(header: bytes) -> int:
    return RATES[header[1] >> 3 & 3][header[2] >> 2 & 3]


def _tag_place(header: bytes) -> int:
    """Where the tag of an info frame stands: behind its header and silent side information."""
    is_first_version, is_mono = header[1] >> 3 & 3 == 3, header[3] >> 6 == 3
    return 4 + (32, 17, 9)[is_mono + (not is_first_version)]


def _is_info(frame: bytes) -> bool:
    """Whether a frame is an info frame; what is too short for one, or not silent before its tag, is played."""
    place = _tag_place(frame)
    is_silent = not any(frame[6:place])
    return is_silent and frame[place : place + 4] in (b"Xing", b"Info") and len(frame) >= place + 8


def _sized(info: bytes, size: int) -> bytes:
    """An info frame for a file of another size, which it tells where its second flag is set."""
    flags = _tag_place(info) + 7
    place = flags + (5 if info[flags] & 1 else 1)
    if not info[flags] & 2 or place + 4 > len(info):
        return info
    return info[:place] + min(size, MOST_SIZE).to_bytes(4, "big") + info[place + 4 :]


def _walk(read: Read, kind: FrameKind, place: int, size: int) -> tuple[list[int], int] | None:
    """The offset of every step of frames, and the number of whole frames, from a place on."""
    num, every, offsets = 0, STEP_SAMPLES // kind.samples, list[int]()
    block, begin = b"", place
    while True:
        at = place - begin
        if at + 4 > len(block):
            block, begin, at = read(place, AT_ONCE), place, 0
            if len(block) < 4:
                return offsets, num
        length = kind.length(block, at)
        if not length:
            return (offsets, num) if block[at : at + 3] in TRAILERS else None
        if place + length > size:
            return offsets, num
        if num % every == 0:
            offsets.append(place)
        place, num = place + length, num + 1


def behind_tags(read: Read, size: int) -> int:
    """Where the ID3v2 tags at the beginning end."""
    place = 0
    for _ in range(MOST_TAGS):
        head = read(place, 10)
        if head[:3] != b"ID3" or len(head) < 10:
            break
        length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]  # seven bits of each byte
        place += 10 + length + (10 if head[5] & 0x10 else 0)
    return min(place, size)


def _is_header(header: bytes) -> bool:
    """Whether four bytes are the header of a layer III frame of a known bit rate."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return False
    return header[1] >> 3 & 3 in RATES and header[2] >> 2 & 3 < 3 and 0 < header[2] >> 4 < 15
