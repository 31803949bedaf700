"""Curves beside a recording (f0, loudness …), cut to a clip of it.

recording  |================================|      a row every 1 / rate seconds, row 0 at its beginning
curve      0 1 2 3 4 5 6 7 8 9 …            |
clip                |=========|
delivered           4 5 6 7 8 9                    from the row nearest to its beginning
"""

from __future__ import annotations

import io
import math
import operator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...order.curve_rates import exact_rate
from ...sources.located import Member
from ...storage.npy import read_npy_header
from ..errors import UndecodableError

__all__ = ["curve_rows", "curve_start", "cut_curve", "first_row_seconds", "start_field", "tolerated_rows"]

HEADER_BYTES = 10_240
LEAST_TOLERATED, MOST_TOLERATED, TOLERATED_SHARE = 4, 16, Fraction(1, 200)


def curve_rows(start: int, window: int, *, curve_rate: Fraction, sample_rate: Fraction) -> range:
    """The rows that belong to frames [start, start + window): window · curve_rate / sample_rate of them, rounded.

    Halves are rounded up; rates are in rows and frames per second.
    """
    rows_a_frame = curve_rate / sample_rate
    first = int(start * rows_a_frame + Fraction(1, 2))
    return range(first, first + max(1, int(window * rows_a_frame + Fraction(1, 2))))


def start_field(name: str) -> str:
    """The field of a batch that says where the first row of curve `name` stands: "f0.npy@start"."""
    return f"{name}@start"


def first_row_seconds(start: int, *, curve_rate: Fraction, sample_rate: Fraction) -> Fraction:
    """Seconds from frame `start` to the row nearest to it, the first that its clip gets: above -1/2, up to 1/2 rows.

    `start` is in frames at `sample_rate`; rates are in rows and frames per second.
    """
    first = curve_rows(start, 1, curve_rate=curve_rate, sample_rate=sample_rate).start
    return first / curve_rate - start / sample_rate


def curve_start(
    start: int, rate: float | Fraction, sample_rate: int | Fraction, *, stored_rate: int | Fraction | None = None
) -> Fraction:
    """Seconds from a clip's first sample to its first row of a curve, by its key: above -1/2, up to 1/2 rows.

    Batches say the same, as float64, in their field `NAME@start`, which is exact for every clip; this function is for
    keys without their batches.

    start        where the clip begins: START of its key KEY@START, in frames of the recording as it is stored
    rate         of the curve, in rows per second
    sample_rate  of the clip, in Hz
    stored_rate  of the recording where the clip is resampled; None: the same

    Exact where clips are not resampled, or to a lower rate. At a higher rate several samples of a clip may stand
    between two stored frames, which START does not tell apart: the first of them is taken, at which every clip without
    `random_offset` begins whose hop is a whole number of stored frames.
    """
    frame, clip_rate, rate = operator.index(start), Fraction(sample_rate), exact_rate(rate)
    if stored_rate is not None:
        frame = math.ceil(frame * clip_rate / Fraction(stored_rate))
    return first_row_seconds(frame, curve_rate=rate, sample_rate=clip_rate)


def tolerated_rows(whole: Fraction) -> Fraction:
    """By how many rows a curve may miss those of its recording: analyses differ by some at the ends.

    Half a percent of `whole`, the rows the recording has, within 4 to 16: another rate makes a greater difference.
    """
    return min(Fraction(MOST_TOLERATED), max(Fraction(LEAST_TOLERATED), whole * TOLERATED_SHARE))


def cut_curve(curve: Member, rows: range, *, whole: Fraction) -> NDArray[Any]:
    """These rows of a stored npy array, (rows, …); only what is needed is read.

    Behind the curve's end its last row is repeated. `whole` is how many rows the recording has at the rate that was
    named: a curve of another length by more than `tolerated_rows` is refused. Raises `UndecodableError`.
    """
    head = curve.read(0, min(HEADER_BYTES, curve.size))
    shape, dtype, begin = _header(head)
    num = shape[0]
    row_bytes = dtype.itemsize * math.prod(shape[1:])
    if abs(num - whole) > tolerated_rows(whole) or not num or not row_bytes:
        raise UndecodableError(f"it has {num:,} rows, where {float(whole):,.0f} are as long as the recording")
    if (missing := begin + num * row_bytes - curve.size) > 0:
        raise UndecodableError(f"it ends {missing:,} bytes early")
    first, last = min(rows.start, num - 1), min(rows.stop, num)
    stop = begin + max(last, first + 1) * row_bytes
    first_byte = begin + first * row_bytes
    raw = head[first_byte:stop] if stop <= len(head) else curve.read(first_byte, stop - first_byte)
    if len(raw) < stop - first_byte:
        raise UndecodableError(f"it ends {stop - first_byte - len(raw):,} bytes early")
    found = np.frombuffer(raw, dtype).reshape(-1, *shape[1:])
    chosen = np.minimum(np.arange(rows.start, rows.stop), num - 1) - first
    cut: NDArray[Any] = found[chosen]
    return cut


def _header(head: bytes) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """(shape, dtype, offset of the values) of an npy file that begins so."""
    file = io.BytesIO(head)
    try:
        shape, fortran_order, dtype = read_npy_header(file)
    except ValueError as error:
        raise UndecodableError(f"it is not an npy array ({error})") from error
    if not shape or dtype.hasobject or (fortran_order and len(shape) > 1):
        raise UndecodableError(f"its first axis must be time, row after row; it is {dtype}{list(shape)}")
    return shape, dtype, file.tell()
