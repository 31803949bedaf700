"""`NAME.tar.frames.npy`: of every frame of the videos of a tar, when it is shown and where decoding it begins.

One array of fixed records in NumPy's own file format. Each video has a head of two records and then a record for each
of its frames: first the decodable ones *in output order*, which is the order in which a decoder hands them over, then
those that cannot be decoded. A row of the index says where its video begins (`table_offset`).

    packets in the file   I0  P3  B1  B2  I6  B4  B5          (the numbers are the frames' places in output order)
    records               0 (key)   1   2   3   4   5   6 (key)
    key_packet            0         0   0   0   0   0   4     frames 4 and 5 lie behind packet 4, and before its frame:
                                                              the key at 6 is not a clean start
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from enum import IntFlag
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import ShardError
from .npy import MAX_HEADER_BYTES, read_npy_header
from .plain_files import create_plain, map_plain
from .remote.urls import with_suffix

__all__ = [
    "FRAME_DTYPE",
    "HEAD_DTYPE",
    "TABLE_VERSION",
    "FrameFlag",
    "FrameRows",
    "FrameTable",
    "TableFlag",
    "frames_bytes",
    "frames_name",
    "frames_path",
    "load_frames",
    "parse_frames",
    "save_frames",
]

TABLE_VERSION = 1
MAX_PACKETS = 1 << 28
MAX_TIME = 1 << 62
MAX_SIZE = (1 << 31) - 1

FRAME_DTYPE = np.dtype(
    [
        ("time", "<i8"),  # when it is shown, in the time base of the head
        ("seek", "<i8"),  # the time stamp by which its key packet is sought, in the stream's own time base
        ("position", "<i8"),  # byte of that key packet in the file; -1 where the container does not say
        ("packet", "<i4"),  # number of its packet among those of the stream, in the order they are stored
        ("key_packet", "<i4"),  # number of the packet at which decoding it begins
        ("size", "<i4"),  # bytes of its packet, MAX_SIZE at most
        ("flags", "<u4"),  # FrameFlag
    ]
)

HEAD_DTYPE = np.dtype(
    [
        ("version", "<u4"),  # TABLE_VERSION
        ("flags", "<u4"),  # TableFlag
        ("frames", "<i8"),  # that can be decoded
        ("end", "<i8"),  # when the last of them ends, in the time base
        ("broken", "<i4"),  # that cannot
        ("stream", "<i4"),  # number of the stream in the file
        ("time_numerator", "<i4"),  # seconds per unit of time
        ("time_denominator", "<i4"),
        ("rate_numerator", "<i4"),  # frames per second, on average
        ("rate_denominator", "<i4"),
        ("aspect_numerator", "<i4"),  # width of a pixel through its height, as it is stored; 1/1 where unknown
        ("aspect_denominator", "<i4"),
        ("width", "<i4"),  # pixels, as they are stored
        ("height", "<i4"),
        ("turns", "<i4"),  # quarter turns against the clock that make it upright
        ("channels", "<i4"),  # 1 gray, 3 colour
        ("codec", "S8"),  # by its name in FFmpeg
    ]
)
TERMS = ("numer", "denomin")
POSITIVE = ("width", "height", *(f"{name}_{term}ator" for name in ("time", "rate", "aspect") for term in TERMS))
HEAD_ROWS = HEAD_DTYPE.itemsize // FRAME_DTYPE.itemsize
assert HEAD_ROWS * FRAME_DTYPE.itemsize == HEAD_DTYPE.itemsize

FrameRows: TypeAlias = NDArray[np.void]
"""(rows,) of FRAME_DTYPE."""


class FrameFlag(IntFlag):
    """What else is known of a frame."""

    KEY = 1  # decoding can begin at its packet
    CLEAN = 2  # of a key: no frame that is shown before it is stored behind it
    BROKEN = 4  # cannot be decoded


class TableFlag(IntFlag):
    """What else is known of a video."""

    HAS_SOUND = 1
    OWN_TIMES = 2  # times are the file's; without, its time stamps do not rise, and frames are numbered at the rate
    SEEK_BY_DTS = 4  # key packets are sought by their decoding time stamp
    EVEN_TIMES = 8  # frame n is shown n / rate seconds after the first, within the rounding of the time stamps


@dataclass(frozen=True, eq=False)
class FrameTable:
    """The frames of one video: `rows` are those that can be decoded, in output order, `broken` those that cannot."""

    head: np.void
    rows: FrameRows
    broken: FrameRows

    @classmethod
    def at(cls, whole: FrameRows, offset: int, where: str) -> FrameTable:
        """The table that begins at a row. Raises `ShardError` for what cannot be one; `where` names it."""
        if not 0 <= offset <= len(whole) - HEAD_ROWS:
            raise ShardError(f"{where}: has no row {offset:,}, where a video's frames are to begin. {REMEDY}")
        head = np.frombuffer(whole[offset : offset + HEAD_ROWS].tobytes(), HEAD_DTYPE)[0]
        if head["version"] != TABLE_VERSION:
            raise ShardError(
                f"{where}: table version {int(head['version'])}; this library reads {TABLE_VERSION}. {REMEDY}"
            )
        begin, num, broken = offset + HEAD_ROWS, int(head["frames"]), int(head["broken"])
        left = len(whole) - begin
        if not (0 <= num <= left and 0 <= broken <= left - num):
            raise ShardError(f"{where}: is cut off, or holds numbers that cannot be. {REMEDY}")
        table = cls(head, whole[begin : begin + num], whole[begin + num : begin + num + broken])
        if not table._is_sound():
            raise ShardError(f"{where}: holds numbers that cannot be. {REMEDY}")
        return table

    def _is_sound(self) -> bool:
        head, rows = self.head, self.rows
        if any(int(head[name]) <= 0 for name in POSITIVE) or not 0 <= int(head["turns"]) < 4:
            return False
        if not 0 <= int(head["stream"]) < 1 << 16 or not -MAX_TIME < int(head["end"]) < MAX_TIME:
            return False
        times, packets, keys, broken = rows["time"], rows["packet"], rows["key_packet"], self.broken["packet"]
        return bool(
            ((times > -MAX_TIME) & (times < MAX_TIME)).all()
            and (np.diff(times) >= 0).all()
            and ((packets >= 0) & (packets < MAX_PACKETS)).all()
            and ((keys >= 0) & (keys <= packets)).all()
            and (np.diff(keys) >= 0).all()
            and ((broken >= 0) & (broken < MAX_PACKETS)).all()
        )

    @property
    def flags(self) -> TableFlag:
        """What else is known of the video."""
        return TableFlag(int(self.head["flags"]) & 15)

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of time."""
        return Fraction(int(self.head["time_numerator"]), int(self.head["time_denominator"]))

    @property
    def rate(self) -> Fraction:
        """Frames per second, on average."""
        return Fraction(int(self.head["rate_numerator"]), int(self.head["rate_denominator"]))

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel through its height, as the video is stored."""
        return Fraction(int(self.head["aspect_numerator"]), int(self.head["aspect_denominator"]))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the upright video in pixels."""
        height, width = int(self.head["height"]), int(self.head["width"])
        return (width, height) if int(self.head["turns"]) % 2 else (height, width)

    @property
    def codec(self) -> str:
        """By its name in FFmpeg."""
        return bytes(self.head["codec"]).decode("ascii", "replace")

    def __len__(self) -> int:
        return len(self.rows)

    def seconds(self, ordinals: NDArray[np.int64]) -> NDArray[np.float64]:
        """When frames are shown, in seconds of the file's own time: (n,) float64, the nearest to the exact value."""
        numerator, denominator = int(self.head["time_numerator"]), int(self.head["time_denominator"])
        times = self.rows["time"][ordinals]
        if abs(times).max(initial=0) < (1 << 53) // numerator:
            return times * numerator / denominator  # one rounding, of the division
        return np.array([float(Fraction(int(time) * numerator, denominator)) for time in times])

    def shown_at(self, first: int, num: int, rate: Fraction) -> NDArray[np.int64]:
        """The frames shown at output times first … first + num − 1 at a rate: (num,) int64 ordinals.

        Output time n is n / rate seconds after the first frame is shown; the frame is the last one shown by then.
        """
        ticks = np.arange(first, first + num).tolist()
        if self.flags & TableFlag.EVEN_TIMES:
            step = self.rate / rate
            found = [tick * step.numerator // step.denominator for tick in ticks]
            return np.array([min(max(0, ordinal), len(self) - 1) for ordinal in found], np.int64)
        begin, unit = int(self.rows["time"][0]), 1 / (rate * self.time_base)
        times = [min(begin + tick * unit.numerator // unit.denominator, MAX_TIME) for tick in ticks]
        return np.searchsorted(self.rows["time"], np.array(times, np.int64), side="right") - 1

    @cached_property
    def first_of_packet(self) -> NDArray[np.int32]:
        """For each packet, the ordinal of the first frame that comes out of it, -1 where none does: (packets,)."""
        packets = self.rows["packet"]
        found = np.full(int(packets.max(initial=-1)) + 1, -1, np.int32)
        found[packets[::-1]] = np.arange(len(packets), dtype=np.int32)[::-1]
        return found

    @cached_property
    def _ordinals(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The packets that frames come out of, rising, and the ordinal of the first frame of each."""
        packets, ordinals = np.unique(self.rows["packet"], return_index=True)
        return packets, ordinals.astype(np.int64)

    def ordinal_of(self, packet: int) -> int:
        """The ordinal of the first frame that comes out of a packet, -1 where none does."""
        packets, ordinals = self._ordinals
        place = int(np.searchsorted(packets, packet))
        return int(ordinals[place]) if place < len(packets) and packets[place] == packet else -1

    @cached_property
    def damage(self) -> NDArray[np.int32]:
        """The packets of which a frame cannot be decoded, rising."""
        return np.unique(self.broken["packet"])

    @cached_property
    def earliest_packet(self) -> NDArray[np.int32]:
        """For each frame, the first packet that it or any frame after it is made of: (frames,)."""
        found: NDArray[np.int32] = np.minimum.accumulate(self.rows["packet"][::-1])[::-1]
        return found

    def key_ordinal(self, ordinal: int) -> int:
        """The first frame that decoding from the key packet of a frame gives."""
        keys = self.rows["key_packet"]
        return int(np.searchsorted(keys, keys[ordinal], side="left"))

    def to_rows(self) -> FrameRows:
        """Head and frames as they stand in the file."""
        head = np.frombuffer(np.array([self.head], HEAD_DTYPE).tobytes(), FRAME_DTYPE)
        return np.concatenate([head, self.rows, self.broken])


REMEDY = "Restore it, or delete it to have the frames measured again."


def frames_name(tar: str) -> str:
    """The name of the frame table of a tar, a path or a URL: beside it, `NAME.tar.frames.npy`."""
    return with_suffix(tar, ".frames.npy")


def frames_path(tar: str | os.PathLike[str]) -> Path:
    """Where the frame table of a tar of this machine lies: beside it, `NAME.tar.frames.npy`."""
    return Path(frames_name(os.fspath(Path(tar))))


def frames_bytes(rows: FrameRows) -> bytes:
    """The file that the tables of a tar are. The same tables give the same bytes."""
    file = io.BytesIO()
    np.lib.format.write_array(file, rows, version=(1, 0), allow_pickle=False)
    return file.getvalue()


def save_frames(path: str | os.PathLike[str], rows: FrameRows) -> bytes:
    """Write the tables of a tar and fsync them; the caller renames the file into place. Returns its content."""
    content = frames_bytes(rows)
    with create_plain(Path(path)) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return content


def load_frames(path: str | os.PathLike[str]) -> FrameRows:
    """Memory-map the tables of a tar: (rows,) of FRAME_DTYPE, read-only.

    Raises `FileNotFoundError` where there are none, `ShardError` for anything else.
    """
    try:
        content = map_plain(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error.strerror}). {REMEDY}") from error
    return parse_frames(content, where=os.fspath(path))


def parse_frames(content: bytes | memoryview, *, where: str) -> FrameRows:
    """The tables of a tar from the bytes of their file. Raises `ShardError`; `where` names it."""
    head = io.BytesIO(content[:MAX_HEADER_BYTES])
    try:
        shape, _, dtype = read_npy_header(head)
        if dtype != FRAME_DTYPE or len(shape) != 1:
            raise ValueError("it is of another kind or version")
        if shape[0] > (len(content) - head.tell()) // FRAME_DTYPE.itemsize:
            raise ValueError("it is cut off")
    except ValueError as error:
        raise ShardError(f"{where}: not a readable frame table ({error}). {REMEDY}") from error
    found: NDArray[Any] = np.frombuffer(content, FRAME_DTYPE, shape[0], head.tell())
    return found
