"""Where a long recording is cut, and its curves with it.

Segment i of T seconds is the samples [round(i·T·S), round((i+1)·T·S)) at a sample rate S: half-open, so that
the segments joined are the whole, and from the start of the recording, so that no error grows. A curve of R rows per
second is cut at the rows i·T·R, which are whole numbers.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from ...decode.audio.curves import tolerated_rows
from ...storage.npy import load_npy, npy_bytes, read_npy_header
from ..source_reader import UnpackableError

__all__ = ["Curves", "cut_blocks", "exact_seconds", "segment_seconds", "segment_start"]


def exact_seconds(seconds: float | Fraction) -> Fraction:
    """A number of seconds, or of rows per second, as it is written: 0.1 is a tenth."""
    return Fraction(str(seconds))


def segment_seconds(value: object) -> float | None:
    """The setting `segment`: a number of seconds above 0, or None. Raises `ValueError`."""
    if value is None:
        return None
    seconds = float(value) if type(value) is not bool and isinstance(value, Real) else math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"segment is {value!r}; it must be a number of seconds above 0.")
    return seconds


def segment_start(number: int, seconds: Fraction, sample_rate: int) -> int:
    """The first sample of a segment (see above), halves rounded up."""
    return int(number * seconds * sample_rate + Fraction(1, 2))


def cut_blocks(
    blocks: Iterable[NDArray[np.float32]], seconds: Fraction, sample_rate: int
) -> Iterator[NDArray[np.float32]]:
    """Blocks of (time, channel) samples, joined and cut again into segments; only the last may be shorter."""
    held: list[NDArray[np.float32]] = []
    number, missing = 0, segment_start(1, seconds, sample_rate)
    for block in blocks:
        while len(block) >= missing:
            yield np.concatenate([*held, block[:missing]])
            block, held, number = block[missing:], [], number + 1
            missing = segment_start(number + 1, seconds, sample_rate) - segment_start(number, seconds, sample_rate)
        if len(block):
            held.append(block)
            missing -= len(block)
    if held:
        yield np.concatenate(held)


@dataclass(frozen=True, slots=True)
class Curves:
    """The fields of one recording: those named in `rates` (rows per second) are cut with it, the others repeated.

    Raises `UnpackableError` for a curve that cannot be read, or is not as long as the recording.
    """

    fields: Mapping[str, bytes]
    arrays: Mapping[str, NDArray[np.generic]]
    rates: Mapping[str, float | Fraction]
    seconds: Fraction

    @classmethod
    def of(cls, fields: Mapping[str, bytes], rates: Mapping[str, float | Fraction], seconds: Fraction) -> Curves:
        """The curves among the fields of a recording."""
        arrays = {name: _read_npy(name, fields[name]) for name in rates if name in fields}
        return cls(fields, arrays, rates, seconds)

    def check_length(self, recording_seconds: Fraction) -> None:
        """Raise `UnpackableError` for a curve that does not go with a recording of this length.

        Trackers leave out, or add, some rows at the ends; iterators tolerate as much.
        """
        for name, array in self.arrays.items():
            whole = recording_seconds * exact_seconds(self.rates[name])
            if not len(array) or abs(len(array) - whole) > tolerated_rows(whole):
                raise UnpackableError(
                    f"its {name} has {len(array):,} rows, where {float(whole):,.0f} are as long as the recording"
                )

    def cut(self, number: int, *, last_seconds: Fraction | None = None) -> dict[str, bytes]:
        """The fields of one segment; `last_seconds` is the length of the last, which takes the rows that are left.

        No segment misses its own length by more than a reader tolerates: rows far behind the end of the recording are
        left out, and where the curve ends too early its last row is repeated.
        """
        cut = {}
        for name, array in self.arrays.items():
            rate = exact_seconds(self.rates[name])
            first, whole = int(number * self.seconds * rate), (last_seconds or self.seconds) * rate
            slack = tolerated_rows(whole)
            fewest, most = max(1, math.ceil(whole - slack)), math.floor(whole + slack if last_seconds else whole)
            stop = first + max(fewest, min(len(array) - first, most))
            cut[name] = npy_bytes(array[np.minimum(np.arange(first, stop), len(array) - 1)])
        return {**self.fields, **cut}


def _read_npy(name: str, content: bytes) -> NDArray[np.generic]:
    """An array of at least one axis."""
    try:
        shape, _, dtype = read_npy_header(io.BytesIO(content))
        if not shape or dtype.hasobject:
            raise ValueError("no array of numbers with a first axis")
        return load_npy(content)
    except ValueError as error:
        raise UnpackableError(f"its {name} cannot be read ({error})") from error
