"""Clips of recordings to float samples of one length, written straight into a batch's slot.

place in the run ─▶ where the window begins ─▶ its frames (PCM by their bytes, the rest by libsndfile)
                 ─▶ channels ─▶ sample rate ─▶ slot, zeros behind the recording's end
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...order.checked_numbers import whole_number
from ...order.clip_arithmetic import UNREADABLE, ClipSpec
from ...order.curve_rates import exact_rate
from ...order.randomness import Place
from ...sources.clips import Clip
from ...sources.source import Example
from ..decoder import Details
from ..errors import UndecodableError
from .channels import to_channels
from .curves import curve_rows, cut_curve, first_row_seconds, start_field
from .recording_reader import RecordingReader
from .resampling import MOST_RATIO, import_soxr, resample_window
from .wav import MAX_CHANNELS

__all__ = ["AudioDecoder"]

Samples = NDArray[np.float32]
MAX_CLIP_BYTES = 1 << 31
MAX_OWN_BYTES = 1 << 29
"""Of a clip with its recording's own channels, which a header claims and nobody asked for."""


class AudioDecoder:
    """Decodes a `Clip` to (channel, time) float32: integers to [-1, 1), floats as they are stored.

    reader          reads the recordings; the clips' source closes it
    spec            the clips, the sample rate they are to have, and whether they begin at random: then anywhere
                    in a clip's share of the recording, by its place in the run
    channels        1: the mean of all; more: of a mono recording as many copies, of one with more its first ones;
                    None: as many as there are
    curves          npy fields that are cut to the clip: suffix → rows per second. For each NAME the field `NAME@start`
                    says where its first row stands
    """

    def __init__(
        self,
        reader: RecordingReader,
        spec: ClipSpec,
        *,
        channels: int | None = 1,
        curves: Mapping[str, float | Fraction] | None = None,
    ) -> None:
        channels = None if channels is None else whole_number("channels", channels)
        if (size := 4 * (channels or 1) * spec.window) > MAX_CLIP_BYTES:
            raise ValueError(
                f"window is {spec.window:,} frames, so that a clip takes {size:,} bytes; it may take up to "
                f"{MAX_CLIP_BYTES:,}. Give a shorter window."
            )
        self.curves = _curve_rates({} if curves is None else curves)
        if spec.sample_rate is not None:
            import_soxr()
        self.reader, self.spec = reader, spec
        self.channels = channels

    @property
    def output_rate(self) -> int | Fraction | None:
        """The rate of all clips in Hz; None where each recording keeps its own."""
        return self.spec.sample_rate

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that it makes of every clip: where the first row of each curve stands."""
        return tuple(map(start_field, self.curves))

    def allocate(self, num: int) -> Samples | None:
        """(num, channel, window); None where each recording keeps its own channels."""
        return None if self.channels is None else np.empty((num, self.channels, self.spec.window), np.float32)

    def decode_into(self, example: Example, out: Samples, place: Place) -> Details:
        """Fill a slot (channel, window). Raises `ExampleError` for a recording that cannot be decoded."""
        clip = _clip(example)
        try:
            start, length = self._stretch(clip, place)
            self._fill(clip, start, out[:, :length])
        except UndecodableError as error:
            raise example.error(str(error)) from error
        out[:, length:] = 0
        return self._details(clip, start, length)

    def decode(self, example: Example, place: Place) -> tuple[Samples, Details]:
        """The clip with its recording's own channels, (channel, window). Raises `ExampleError`."""
        clip = _clip(example)
        try:
            channels = self.reader.num_channels(clip.located, clip.record)
        except UndecodableError as error:
            raise example.error(str(error)) from error
        if not 0 < channels <= MAX_CHANNELS:
            raise example.error(f"it claims {channels:,} channels")
        if (size := 4 * channels * self.spec.window) > MAX_OWN_BYTES:
            raise example.error(
                f"its {channels:,} channels make a clip of {size:,} bytes: choose some with channels="
            )
        out = np.empty((channels, self.spec.window), np.float32)
        return out, self.decode_into(example, out, place)

    def _stretch(self, clip: Clip, place: Place) -> tuple[int, int]:
        """Where the clip begins and how long it really is, in output frames."""
        if clip.record.frames <= UNREADABLE:
            self.reader.refuse(clip.located)
        word = place.words(1)[0] if self.spec.random_offset else 0
        return self.spec.stretch(clip.record, clip.number, clip.count, word)

    def _fill(self, clip: Clip, start: int, out: Samples) -> None:
        """Fill (channel, length) from output frame `start` on."""
        record, length = clip.record, out.shape[1]
        rate = self.spec.sample_rate
        if rate is None or rate.numerator * record.rate_denominator == record.rate_numerator * rate.denominator:
            span = range(start, start + length)
            header = self.reader.header(clip.located, record)
            if header is not None and header.channels == len(out):
                self.reader.read_pcm(clip.located, header, span, out.T)
            else:
                out.T[...] = to_channels(self.reader.read(clip.located, span, record), len(out))
            return
        from_rate = record.rate_numerator * rate.denominator
        to_rate = rate.numerator * record.rate_denominator
        if not to_rate:
            raise UndecodableError("its index gives it no sample rate")
        ratio = Fraction(from_rate, to_rate)
        if not Fraction(1, MOST_RATIO) <= ratio <= MOST_RATIO:
            raise UndecodableError(
                f"its sample rate of {float(ratio * rate):,g} Hz is too far from {float(rate):,g} Hz"
            )

        def read(begin: int, end: int) -> Samples:
            return to_channels(self.reader.read(clip.located, range(begin, end), record), len(out))

        window = resample_window(read, start, length, frames=record.frames, from_rate=from_rate, to_rate=to_rate)
        out.T[...] = to_channels(window, len(out))

    def _details(self, clip: Clip, start: int, length: int) -> Details:
        key = self.spec.key(clip.located.key, start, clip.record) if self.spec.random_offset else None
        curves = {name: self._curve(clip, name, rate, start) for name, rate in self.curves.items()}
        starts = {start_field(name): self._first_row(clip, rate, start) for name, rate in self.curves.items()}
        return Details(
            length=length if length < self.spec.window else None,
            key=key,
            fields={**curves, **starts},
            rate=clip.record.rate if self.spec.sample_rate is None else None,
        )

    def _curve(self, clip: Clip, name: str, rate: Fraction, start: int) -> NDArray[Any] | None:
        """A curve cut to a clip, None where the recording has none."""
        curve, record = clip.located.fields.get(name), clip.record
        if curve is None:
            return None
        own_rate = record.rate
        if own_rate is None:
            raise clip.error("its index gives it no sample rate, by which its curves are cut")
        sample_rate = Fraction(self.spec.sample_rate or own_rate)
        rows = curve_rows(start, self.spec.window, curve_rate=rate, sample_rate=sample_rate)
        try:
            return cut_curve(curve, rows, whole=record.frames / own_rate * rate)
        except UndecodableError as error:
            raise clip.error(f"its curve {name!r} does not fit {float(rate):g} rows per second: {error}") from error

    def _first_row(self, clip: Clip, rate: Fraction, start: int) -> NDArray[np.float64]:
        """Seconds from the clip's first sample to its first row, () float64; NaN where no sample rate is known."""
        sample_rate = self.spec.sample_rate or clip.record.rate
        if sample_rate is None:
            return np.array(math.nan)
        return np.array(float(first_row_seconds(start, curve_rate=rate, sample_rate=Fraction(sample_rate))))

    def __repr__(self) -> str:
        spec = self.spec
        parts = [f"window={spec.window}", f"hop={spec.hop}", f"sample_rate={spec.sample_rate}"]
        parts += [f"channels={self.channels}", f"random_offset={spec.random_offset}", f"short={spec.short!r}"]
        return f"AudioDecoder({', '.join(parts)})"


def _curve_rates(curves: Mapping[str, float | Fraction]) -> dict[str, Fraction]:
    if not isinstance(curves, Mapping):
        raise TypeError(f'curves is {curves!r}; it must give the rows per second of each: {{"f0.npy": 250}}.')
    for name, rate in curves.items():
        if not isinstance(rate, int | float | Fraction) or not 0 < rate < float("inf"):
            raise ValueError(f"curves[{name!r}] is {rate!r}; it must be a number of rows per second, above 0.")
    if both := [name for name in curves if start_field(name) in curves]:
        raise ValueError(f"curves has {both[0]!r} and {start_field(both[0])!r}, which is made of it. Rename one.")
    return {name: exact_rate(rate) for name, rate in curves.items()}


def _clip(example: Example) -> Clip:
    if not isinstance(example, Clip):
        raise TypeError(f"an AudioDecoder decodes clips of a ClipSource, not {type(example).__name__}.")
    return example
