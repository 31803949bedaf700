"""The examples of one recording: what has to be done to it, and doing it a stretch at a time.

whole, nothing changed       the bytes of the file
plain wav, only cut          the bytes of its frames, each segment under a header of its own
anything else                decoded, mixed, resampled, cut, encoded
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...decode.audio.wav_writing import wav_bytes
from ...storage.index import Record
from ..features import Feature
from ..packing import Prepared
from ..source_reader import SourceReader, UnpackableError
from .audio_encoding import encode_flac, encode_wav, flac_bits, wav_encoding
from .feature_rows import ComputedFields, compute_fields, joined_samples
from .open_recording import OpenRecording, mixed, resampled
from .segments import Curves, cut_blocks, exact_seconds, segment_start

__all__ = ["MOST_FLAC_CHANNELS", "MOST_FLAC_HZ", "WAV_SUFFIXES", "Codec", "RecordingJob"]

Codec = Literal["keep", "wav", "flac"]
Item = TypeVar("Item")

WAV_SUFFIXES = ("wav", "wave")
LARGEST_MADE = 256 << 20
MOST_FLAC_CHANNELS = 8
MOST_FLAC_HZ = 655_350


class RecordingJob:
    """What `AudioSettings` mean for one open recording. Raises `UnpackableError` where it cannot be done."""

    def __init__(
        self,
        recording: OpenRecording,
        suffix: str,
        *,
        segment: float | None,
        sample_rate: int | None,
        channels: int | None,
        codec: Codec,
    ) -> None:
        self.recording = recording
        self.sample_rate, self.channels = sample_rate or recording.sample_rate, channels or recording.channels
        self.is_changed = (self.sample_rate, self.channels) != (recording.sample_rate, recording.channels)
        kept_codec = "wav" if suffix in WAV_SUFFIXES else "flac"
        self.codec = kept_codec if codec == "keep" else codec
        has_codec = suffix == "flac" if codec == "flac" else recording.wav is not None
        self.keeps_file = segment is None and not self.is_changed and (has_codec or codec == "keep")
        self._cuts_bytes = recording.wav is not None and self.codec == "wav" and not self.is_changed
        if not self.keeps_file:
            self._check(segment)

    def _check(self, segment: float | None) -> None:
        seconds = Fraction(self.recording.frames, self.recording.sample_rate)
        if segment is not None:
            seconds = min(seconds, exact_seconds(segment))
            if exact_seconds(segment) * self.sample_rate < 1:
                raise UnpackableError(
                    f"a segment of {segment:g} s is less than a sample at {self.sample_rate:,} Hz"
                )
        if self.codec == "flac":
            if flac_bits(self.recording.depth, changed=self.is_changed) is None:
                raise UnpackableError("its samples of 32 bits do not fit flac: use --codec wav")
            if self.channels > MOST_FLAC_CHANNELS or self.sample_rate > MOST_FLAC_HZ:
                raise UnpackableError(
                    f"{self.channels} channels at {self.sample_rate:,} Hz do not fit flac: use --codec wav"
                )
        size = int(seconds * self.sample_rate) * self.channels * 4
        if size > LARGEST_MADE:
            raise UnpackableError(
                f"an example of {size / 2**20:,.0f} MiB as samples of 32 bits, and {LARGEST_MADE >> 20} are the most "
                "that are encoded in one piece: cut it with --segment"
            )

    def computed(self, features: Sequence[Feature]) -> ComputedFields:
        """The fields that features make of what is packed, before it is cut and rounded: see `compute_fields`."""
        seconds = Fraction(self.recording.frames, self.recording.sample_rate)
        samples = joined_samples(
            self._blocks(), seconds=seconds, sample_rate=self.sample_rate, channels=self.channels
        )
        return compute_fields(features, samples, self.sample_rate)

    def kept(self, file: SourceReader, suffix: str, fields: Mapping[str, bytes]) -> Prepared:
        """The file as it is."""
        record = self._record(self.recording.frames)
        return Prepared(file.chunks(), suffix, record, fields, media_bytes=file.size)

    def whole(self, fields: Mapping[str, bytes]) -> Prepared:
        """All of it in one example, encoded again."""
        return self._encoded(np.concatenate([*self._blocks()]), fields)

    def segments(self, curves: Curves) -> Iterator[Prepared]:
        """Its segments in order, each with its stretch of the curves."""
        curves.check_length(Fraction(self.recording.frames, self.recording.sample_rate))
        if self._cuts_bytes:
            yield from self._cut_bytes(curves)
            return
        num = 0
        for samples, is_last in _with_last(cut_blocks(self._blocks(), curves.seconds, self.sample_rate)):
            last_seconds = Fraction(len(samples), self.sample_rate) if is_last else None
            yield self._encoded(samples, curves.cut(num, last_seconds=last_seconds), num)
            num += 1
        if not num:
            raise UnpackableError(f"too short for a sample at {self.sample_rate:,} Hz")

    def _cut_bytes(self, curves: Curves) -> Iterator[Prepared]:
        recording = self.recording
        assert recording.wav is not None
        number = start = 0
        while start < recording.frames:
            stop = min(segment_start(number + 1, curves.seconds, recording.sample_rate), recording.frames)
            raw = recording.raw(start, stop)
            media = wav_bytes(raw, recording.sample_rate, recording.channels, recording.wav.encoding)
            is_last = stop == recording.frames
            last_seconds = Fraction(stop - start, recording.sample_rate) if is_last else None
            fields = curves.cut(number, last_seconds=last_seconds)
            yield Prepared(media, "wav", self._record(stop - start), fields, piece=number)
            number, start = number + 1, stop

    def _blocks(self) -> Iterator[NDArray[np.float32]]:
        blocks = mixed(self.recording.blocks(), self.channels)
        return resampled(blocks, self.channels, self.recording.sample_rate, self.sample_rate)

    def _record(self, frames: int) -> Record:
        rate = {"rate_numerator": self.sample_rate, "rate_denominator": 1}
        return Record(frames=frames, channels=self.channels, **rate)

    def _encoded(
        self, samples: NDArray[np.float32], fields: Mapping[str, bytes], segment: int | None = None
    ) -> Prepared:
        if not len(samples):
            raise UnpackableError(f"too short for a sample at {self.sample_rate:,} Hz")
        if self.codec == "flac":
            bits = flac_bits(self.recording.depth, changed=self.is_changed)
            assert bits is not None, "checked before"
            media = encode_flac(samples, self.sample_rate, bits)
        else:
            encoding = wav_encoding(self.recording.depth, changed=self.is_changed)
            media = encode_wav(samples, self.sample_rate, encoding)
        return Prepared(media, self.codec, self._record(len(samples)), fields, piece=segment)


def _with_last(items: Iterable[Item]) -> Iterator[tuple[Item, bool]]:
    """Each item, and whether it is the last."""
    iterator = iter(items)
    try:
        held = next(iterator)
    except StopIteration:
        return
    for item in iterator:
        yield held, False
        held = item
    yield held, True
