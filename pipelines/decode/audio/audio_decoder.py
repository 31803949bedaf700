"""Clips of recordings to float samples of one length, written straight into a batch's slot.

place in the run ─▶ where the window begins ─▶ its frames (PCM by their bytes, the rest by libsndfile)
                 ─▶ channels ─▶ sample rate ─▶ slot, zeros behind the recording's end
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...order.clip_arithmetic import UNREADABLE, ClipSpec
from ...order.randomness import Place
from ...sources.clips import Clip
from ...sources.source import Example
from ..decoder import Details
from .curves import CurveError, curve_rows, cut_curve
from .recording import UnreadableAudioError
from .recording_reader import Listener
from .resampling import MOST_RATIO, import_soxr, resample_window
from .wav import MAX_CHANNELS, WavHeader

__all__ = ["AudioDecoder"]

Samples = NDArray[np.float32]
MAX_CLIP_BYTES = 1 << 31


class AudioDecoder:
    """Decodes a `Clip` to (channel, time) float32: integers to [-1, 1), floats as they are stored.

    listener        reads the recordings; the clips' source closes it
    spec            the clips, the sample rate they are to have, and whether they begin at random: then anywhere
                    in a clip's share of the recording, by its place in the run
    channels        1: the mean of all; more: of a mono recording as many copies, of one with more its first ones;
                    None: as many as there are
    curves          npy fields that are cut to the clip: suffix → rows a second
    """

    def __init__(
        self,
        listener: Listener,
        spec: ClipSpec,
        *,
        channels: int | None = 1,
        curves: Mapping[str, float] | None = None,
    ) -> None:
        if channels is not None and (not isinstance(channels, int) or isinstance(channels, bool) or channels < 1):
            raise ValueError(f"channels is {channels!r}; it must be a whole number from 1 up, or None.")
        if (size := 4 * (channels or 1) * spec.window) > MAX_CLIP_BYTES:
            raise ValueError(
                f"window is {spec.window:,} frames, so that a clip takes {size:,} bytes; it may take up to "
                f"{MAX_CLIP_BYTES:,}. Give a shorter window."
            )
        self.curves = _curve_rates({} if curves is None else curves)
        if spec.sample_rate is not None:
            import_soxr()
        self.listener, self.spec = listener, spec
        self.channels = channels

    def allocate(self, num: int) -> Samples | None:
        """(num, channel, window); None where each recording keeps its own channels."""
        return None if self.channels is None else np.empty((num, self.channels, self.spec.window), np.float32)

    def decode_into(self, example: Example, out: Samples, place: Place) -> Details:
        """Fill a slot (channel, window). Raises `ExampleError` for a recording that cannot be decoded."""
        clip = _clip(example)
        try:
            start, length = self._stretch(clip, place)
            num_bytes = self._fill(clip, start, out[:, :length])
        except UnreadableAudioError as error:
            raise example.error(str(error)) from error
        out[:, length:] = 0
        return self._details(clip, start, length, num_bytes)

    def decode(self, example: Example, place: Place) -> tuple[Samples, Details]:
        """The clip with its recording's own channels, (channel, window). Raises `ExampleError`."""
        channels = max(1, _clip(example).facts.channels)
        if channels > MAX_CHANNELS:
            raise example.error(f"it claims {channels:,} channels")
        out = np.empty((channels, self.spec.window), np.float32)
        return out, self.decode_into(example, out, place)

    def _stretch(self, clip: Clip, place: Place) -> tuple[int, int]:
        """Where the clip begins and how long it really is, in output frames."""
        if clip.facts.frames == UNREADABLE:
            self.listener.refuse(clip.stored)
        frames = int(self.spec.output_frames(clip.facts.as_array())[0])
        start = clip.start
        if self.spec.random_offset:
            free = max(0, frames - self.spec.window) + 1
            first, stop = (number * free // clip.count for number in (clip.number, clip.number + 1))
            start = min(first + (place.words(1)[0] * max(1, stop - first) >> 64), free - 1)
        return start, min(self.spec.window, frames - start)

    def _fill(self, clip: Clip, start: int, out: Samples) -> int:
        """Fill (channel, length) from output frame `start` on; the bytes that were read, of PCM."""
        facts, length = clip.facts, out.shape[1]
        header = self.listener.header(clip.stored)
        rate = self.spec.sample_rate
        if rate is None or rate * facts.rate_denominator == facts.rate_numerator:
            span = range(start, start + length)
            if header is not None and header.channels == len(out):
                self.listener.read_pcm(clip.stored, header, span, out.T)
            else:
                out.T[...] = self._mixed(self.listener.read(clip.stored, span), len(out))
            return _num_bytes(header, len(span))
        ratio = Fraction(facts.rate_numerator, facts.rate_denominator * rate)
        if not Fraction(1, MOST_RATIO) <= ratio <= MOST_RATIO:
            raise UnreadableAudioError(
                f"its sample rate of {float(ratio * rate):,g} Hz is too far from {rate:,} Hz"
            )
        num_read = 0

        def read(begin: int, end: int) -> Samples:
            nonlocal num_read
            num_read = end - begin
            samples = self.listener.read(clip.stored, range(begin, end))
            return self._mixed(samples, len(out))

        rates = {"from_rate": facts.rate_numerator, "to_rate": rate * facts.rate_denominator}
        out.T[...] = self._mixed(resample_window(read, start, length, frames=facts.frames, **rates), len(out))
        return _num_bytes(header, num_read)

    @staticmethod
    def _mixed(samples: Samples, channels: int) -> Samples:
        """(time, some) to (time, channels)."""
        found = samples.shape[1]
        if found == channels or found == 1:
            return samples  # one channel is copied to all by broadcasting
        if channels == 1:
            mean: Samples = samples.mean(axis=1, keepdims=True, dtype=np.float32)
            return mean
        if found > channels:
            return samples[:, :channels]
        raise UnreadableAudioError(f"it has {found} channels, {channels} were asked for")

    def _details(self, clip: Clip, start: int, length: int, num_bytes: int) -> Details:
        fields: dict[str, NDArray[Any] | None] = {}
        for name, rate in self.curves.items():
            fields[name], more = self._curve(clip, name, rate, start)
            num_bytes += more
        key = f"{clip.stored.key}@{self.spec.source_frame(start, clip.facts)}" if self.spec.random_offset else None
        kept = self.spec.sample_rate is None and clip.facts.rate_numerator > 0
        return Details(
            length=length if length < self.spec.window else None,
            key=key,
            fields=fields,
            num_bytes=num_bytes,
            rate=Fraction(clip.facts.rate_numerator, clip.facts.rate_denominator) if kept else None,
        )

    def _curve(self, clip: Clip, name: str, rate: Fraction, start: int) -> tuple[NDArray[Any] | None, int]:
        """A curve cut to a clip, None where the recording has none, and the bytes that were read."""
        part, facts = clip.stored.fields.get(name), clip.facts
        if part is None:
            return None, 0
        own_rate = Fraction(facts.rate_numerator, facts.rate_denominator)
        sample_rate = Fraction(self.spec.sample_rate or own_rate)
        rows = curve_rows(start, self.spec.window, curve_rate=rate, sample_rate=sample_rate)
        try:
            return cut_curve(part, rows, whole=facts.frames / own_rate * rate)
        except CurveError as error:
            raise clip.error(f"its curve {name!r} does not fit {float(rate):g} rows a second: {error}") from error

    def __repr__(self) -> str:
        spec = self.spec
        parts = [f"window={spec.window}", f"hop={spec.hop}", f"sample_rate={spec.sample_rate}"]
        parts += [f"channels={self.channels}", f"random_offset={spec.random_offset}", f"short={spec.short!r}"]
        return f"AudioDecoder({', '.join(parts)})"


def _curve_rates(curves: Mapping[str, float]) -> dict[str, Fraction]:
    if not isinstance(curves, Mapping):
        raise TypeError(f'curves is {curves!r}; it must say how many rows a second each has: {{"f0.npy": 250}}.')
    for name, rate in curves.items():
        if not isinstance(rate, int | float | Fraction) or not 0 < rate < float("inf"):
            raise ValueError(f"curves[{name!r}] is {rate!r}; it must be a number of rows a second, above 0.")
    return {name: Fraction(rate).limit_denominator(10**6) for name, rate in curves.items()}


def _clip(example: Example) -> Clip:
    if not isinstance(example, Clip):
        raise TypeError(f"an AudioDecoder decodes clips of a ClipSource, not {type(example).__name__}.")
    return example


def _num_bytes(header: WavHeader | None, frames: int) -> int:
    return header.frame_bytes * frames if header is not None else 0
