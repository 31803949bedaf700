"""Batches of windows of recordings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Unpack

import numpy as np

from ..batching.options import Reading, check_settings, with_fields
from ..decode.audio.audio_decoder import AudioDecoder
from ..decode.audio.recording_reader import RecordingReader
from ..errors import SourceError
from ..order.clip_arithmetic import UNREADABLE, ClipSpec, Short
from ..sources.clips import ClipSource
from ..sources.opening import SourceLike
from ..sources.source import Source
from ..storage.index import INDEX_DTYPE
from .data import DataIterator, chosen, opened_as

__all__ = ["AudioIterator", "first_sample_rate"]


class AudioIterator(DataIterator):
    """Batches of windows of recordings: `data` is (batch, channel, window) float32, in [-1, 1).

    window          length of a clip in frames (samples of each channel), at the rate that is delivered
    hop             from the start of one clip to the start of the next, in the same frames; by default the window
    sample_rate     in Hz, a whole number or a `Fraction`: recordings of another rate are resampled (by soxr); None:
                    each keeps its own, and different rates in one batch are warned of
    channels        1: the mean of all; more: a mono recording is repeated, of one with more the first are taken;
                    None: as stored, all alike
    random_offset   clips begin anywhere instead of at multiples of the hop. The places where a window can begin are
                    shared out evenly among a recording's clips, and each draws from its share by its place in the
                    run: an epoch covers each recording about once, and every beginning is equally likely
    short           the part of a window beyond the end of its recording: "pad" fills it with zeros, and `batch.lengths`
                    gives the real length; "skip" leaves such windows out, and recordings shorter than a window
    curves          npy fields that are cut to the clip, and how many rows per second they have: {"f0.npy": 250}; they
                    are delivered like `fields`. Names alone, ("f0.npy", "loudness.npy"), where the manifest of the
                    shards says their rates. With each comes a field `NAME@start`, (batch,) float64: seconds from a
                    clip's first sample to its first row, above -1/2 and up to 1/2 rows, correctly rounded

    Keys are `KEY@START`, START in frames of the recording as it is stored. shuffle=True draws clips uniformly,
    "files" plays recordings in random order and the clips of each in their order. `select` and `limit` choose
    recordings. Everything else is as in `DataIterator`. Float recordings are delivered as stored, beyond 1 too.
    """

    modality = "audio"

    def __init__(
        self,
        source: SourceLike,
        *,
        window: int = 65_536,
        hop: int | None = None,
        sample_rate: int | Fraction | None = None,
        channels: int | None = 1,
        random_offset: bool = False,
        short: Short = "pad",
        curves: Mapping[str, float | Fraction] | Iterable[str] | None = None,
        **reading: Unpack[Reading],
    ) -> None:
        check_settings(type(self), reading)
        spec = ClipSpec(window, window if hop is None else hop, sample_rate, short, random_offset)
        reader = RecordingReader()
        if isinstance(curves, Iterable) and not isinstance(curves, Mapping):
            source = opened_as(source, self.modality)
            curves = _rates_of(source, curves)
        decoder = AudioDecoder(reader, spec, channels=channels, curves=curves)
        select, limit = reading.pop("select", None), reading.pop("limit", None)
        recordings = chosen(opened_as(source, self.modality), select, limit)
        clips = ClipSource(recordings, spec, reader)
        super().__init__(clips, decoder, **with_fields(reading, (*decoder.curves, *decoder.fields)))


def first_sample_rate(source: Source) -> Fraction:
    """Samples per second of the first recording of a source that can be read; one shard's table is read for it.

    Raises `SourceError` where its first shard that holds any recordings has none that can be read.
    """
    reader = RecordingReader()
    filled = np.flatnonzero(np.asarray(source.shard_counts))
    try:
        records = source.records(int(filled[0]), reader) if len(filled) else np.zeros(0, INDEX_DTYPE)
    finally:
        reader.close()
    readable = records[(records["frames"] > UNREADABLE) & (records["rate_numerator"] > 0)]
    if not len(readable):
        raise SourceError(f"{source.name}: no recording of its first shard can be read. Name others.")
    return Fraction(int(readable["rate_numerator"][0]), int(readable["rate_denominator"][0]))


def _rates_of(source: Source, names: Iterable[str]) -> dict[str, Fraction]:
    """The rows per second of curves that are named alone. Raises `SourceError` where the source does not say them."""
    found = {}
    for name in (names,) if isinstance(names, str) else names:
        if not isinstance(name, str):
            raise TypeError(f'curves has {name!r}; it must be names, or rates by name: {{"f0.npy": 250}}.')
        rates = source.curve_rates.get(name, ())
        if len(rates) != 1:
            if not rates and f"{name}.npy" in source.curve_rates:
                raise SourceError(f"{source.name}: has no curve {name}; did you mean {name}.npy?")
            knows = f"{len(rates)} different rates" if rates else "no rate"
            raise SourceError(
                f"{source.name}: has {knows} for {name}, so that curves must give it: curves={{{name!r}: 250}} for 250 "
                "rows per second."
            )
        found[name] = rates[0]
    return found
