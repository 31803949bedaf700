"""Stretches of recordings, for many threads: headers that are remembered, decoders that stay open where they stand."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...order.clip_arithmetic import UNREADABLE
from ...sources.located import LocatedExample, Member, ReadOrder
from ...storage.blob import MemoryBlob
from ...storage.index import Record
from ...storage.live_cache import LiveCache
from ..decoder_pool import DecoderPool
from ..errors import UndecodableError
from .compressed import CompressedStream
from .recording import probe_recording
from .wav import WavHeader, pcm_into, read_wav_header

__all__ = ["RecordingReader"]

KEPT_HEADERS = 4096
KEPT_STREAMS = 16

Name = tuple[str, int | None, str]


class RecordingReader:
    """Reads stretches of recordings; also the `Probe` of audio.

    Headers of plain PCM are kept, 4,096 of them at most, and 16 decoders of other formats, which continue where they
    stand when the next stretch begins there. Nothing is open before the first read or after `close`; pickled, it
    is empty.
    """

    kind = "audio-2"
    modality = "audio"
    at_once = 1

    def __init__(self) -> None:
        self._headers: LiveCache[Name, WavHeader | None] = LiveCache(KEPT_HEADERS)
        self._streams: DecoderPool[CompressedStream] = DecoderPool(KEPT_STREAMS)

    def measure(self, located: LocatedExample) -> Record:
        """How long a recording is; frames are UNREADABLE where it cannot be decoded."""
        try:
            found = probe_recording(located.media.read, located.media.size)
        except UndecodableError:
            return Record(frames=UNREADABLE, rate_numerator=1, rate_denominator=1)
        return Record(
            frames=found.frames, rate_numerator=found.sample_rate, rate_denominator=1, channels=found.channels
        )

    def expect(self, order: ReadOrder) -> None:
        """Nothing: a decoder that stands elsewhere seeks."""

    def refuse(self, located: LocatedExample) -> None:
        """Raise `UndecodableError` for a recording that was found to be unreadable, with the reason."""
        probe_recording(located.media.read, located.media.size)
        raise UndecodableError("it could not be decoded when its length was looked up, and has changed since")

    def header(self, located: LocatedExample, record: Record) -> WavHeader | None:
        """The header of plain PCM, None for anything else.

        Raises `UndecodableError` where it is not that of the recording that the record was made of.
        """
        return self._headers.get(_name(located), partial(_read_header, located.media, record))

    def num_channels(self, located: LocatedExample, record: Record) -> int:
        """The channels of a recording: what its record says, or, where that does not know, its header."""
        if record.channels:
            return record.channels
        header = self.header(located, record)
        return header.channels if header is not None else _open_stream(located.media).channels

    def read_pcm(self, located: LocatedExample, header: WavHeader, span: range, out: NDArray[np.float32]) -> None:
        """The frames of `span` into (time, channel) float32; their bytes are all that is read.

        Raises `UndecodableError` where they are not there.
        """
        if not 0 <= span.start <= span.stop <= header.frames:
            raise UndecodableError(f"it has {header.frames:,} frames, {span.stop:,} were expected")
        start, num = header.data_offset + span.start * header.frame_bytes, len(span) * header.frame_bytes
        raw = located.media.read(start, num)
        if len(raw) < num:
            raise UndecodableError(f"it ends {num - len(raw):,} bytes early")
        pcm_into(raw, header, out)

    def read(self, located: LocatedExample, span: range, record: Record) -> NDArray[np.float32]:
        """The frames of `span` as (time, channel) float32.

        Raises `UndecodableError` for what cannot be decoded, has fewer frames, or contradicts its record.
        """
        header = self.header(located, record)
        if header is not None:
            out = np.empty((len(span), header.channels), np.float32)
            self.read_pcm(located, header, span, out)
            return out
        name = _name(located)
        stream = self._streams.take(name, span.start) or _open_recorded(located.media, record)
        samples = stream.read(span.start, span.stop)
        self._streams.put_back(name, stream)
        if len(samples) < len(span):
            raise UndecodableError(f"it ends after {span.start + len(samples):,} frames, before {span.stop:,}")
        return samples

    def close(self) -> None:
        """Let go of all decoders and headers."""
        self._streams.clear()
        self._headers.clear()


def _name(located: LocatedExample) -> Name:
    return located.container, located.offset, located.key


def _read_header(media: Member, record: Record, name: Name) -> WavHeader | None:
    header = read_wav_header(media.read, media.size)
    if header is not None:
        if record.frames != header.frames:
            raise _contradiction("frames", f"{record.frames:,}", header.frames)
        _compare_sound(record, header)
    return header


def _open_recorded(media: Member, record: Record) -> CompressedStream:
    stream = _open_stream(media)
    _compare_sound(record, stream)
    return stream


def _compare_sound(record: Record, found: WavHeader | CompressedStream) -> None:
    """Compare what a record knows of rate and channels with a header. Raises `UndecodableError`."""
    numerator, denominator = record.rate_numerator, record.rate_denominator
    if numerator and numerator != found.sample_rate * denominator:
        recorded = f"{numerator:,}" if denominator == 1 else f"{numerator:,}/{denominator:,}"
        raise _contradiction("Hz", recorded, found.sample_rate)
    if record.channels and record.channels != found.channels:
        raise _contradiction("channels", f"{record.channels:,}", found.channels)


def _contradiction(unit: str, recorded: str, found: int) -> UndecodableError:
    return UndecodableError(
        f"its index says {recorded} {unit}, its header {found:,}: one is damaged, or the file was replaced"
    )


def _open_stream(media: Member) -> CompressedStream:
    if not media.must_read_whole:
        return CompressedStream(media.read, media.size)
    content = media.content()
    return CompressedStream(MemoryBlob(content).read, len(content))
