"""Stretches of recordings, for many threads: headers that are remembered, decoders that stay open where they stand."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...order.clip_arithmetic import UNREADABLE, Facts
from ...sources.located import Part, StoredExample
from .compressed import CompressedStream, UnreadableAudioError
from .recording import probe_recording
from .wav import WavHeader, pcm_into, read_wav_header

__all__ = ["Listener"]

KEPT_HEADERS = 4096
KEPT_STREAMS = 16

Name = tuple[str, int | None, str]


class Listener:
    """Reads stretches of recordings; also the `Probe` of audio.

    Headers of plain PCM are kept, 4,096 of them at most, and 16 decoders of other formats, which go on where they
    stand when the next stretch begins there. Nothing is open before the first read or after `close`; pickled, it
    starts afresh.
    """

    kind = "audio-1"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._headers: OrderedDict[Name, WavHeader | None] = OrderedDict()
        self._streams: list[tuple[Name, CompressedStream]] = []  # idle ones, the one that was used last at the end

    def measure(self, stored: StoredExample) -> Facts:
        """How long a recording is; frames are UNREADABLE where it is none."""
        try:
            found = probe_recording(stored.media.read, stored.media.size)
        except UnreadableAudioError:
            return Facts(UNREADABLE, 1, 1, 0)
        return Facts(found.frames, found.sample_rate, 1, found.channels)

    def refuse(self, stored: StoredExample) -> None:
        """Raise `UnreadableAudioError` for a recording that was found to be unreadable, with the reason."""
        probe_recording(stored.media.read, stored.media.size)
        raise UnreadableAudioError("it could not be decoded when its length was looked up, and has changed since")

    def header(self, stored: StoredExample) -> WavHeader | None:
        """The header of plain PCM, None for anything else."""
        name = _name(stored)
        with self._lock:
            if name in self._headers:
                self._headers.move_to_end(name)
                return self._headers[name]
        header = read_wav_header(stored.media.read, stored.media.size)
        with self._lock:
            self._headers[name] = header
            while len(self._headers) > KEPT_HEADERS:
                self._headers.popitem(last=False)
        return header

    def read_pcm(self, stored: StoredExample, header: WavHeader, span: range, out: NDArray[np.float32]) -> None:
        """The frames of `span` into (time, channel) float32; their bytes are all that is read.

        Raises `UnreadableAudioError` where they are not there.
        """
        if not 0 <= span.start <= span.stop <= header.frames:
            raise UnreadableAudioError(f"it has {header.frames:,} frames, {span.stop:,} were expected")
        start, num = header.data_offset + span.start * header.frame_bytes, len(span) * header.frame_bytes
        raw = stored.media.read(start, num)
        if len(raw) < num:
            raise UnreadableAudioError(f"it ends {num - len(raw):,} bytes early")
        pcm_into(raw, header, out)

    def read(self, stored: StoredExample, span: range) -> NDArray[np.float32]:
        """The frames of `span` as (time, channel) float32.

        Raises `UnreadableAudioError` for what cannot be decoded, or has fewer frames.
        """
        header = self.header(stored)
        if header is not None:
            out = np.empty((len(span), header.channels), np.float32)
            self.read_pcm(stored, header, span, out)
            return out
        name = _name(stored)
        stream = self._take(name, span.start) or _open_stream(stored.media)
        samples = stream.read(span.start, span.stop)
        self._put_back(name, stream)
        if len(samples) < len(span):
            raise UnreadableAudioError(f"it ends after {span.start + len(samples):,} frames, before {span.stop:,}")
        return samples

    def _take(self, name: Name, start: int) -> CompressedStream | None:
        """An idle decoder of a recording, the one that stands at `start` if there is one."""
        with self._lock:
            mine = [place for place, (other, _) in enumerate(self._streams) if other == name]
            if not mine:
                return None
            there = [place for place in mine if self._streams[place][1].position == start]
            return self._streams.pop((there or mine)[0])[1]

    def _put_back(self, name: Name, stream: CompressedStream) -> None:
        with self._lock:
            self._streams.append((name, stream))
            dropped = self._streams[:-KEPT_STREAMS]
            del self._streams[:-KEPT_STREAMS]
        for _, old in dropped:
            old.close()

    def close(self) -> None:
        """Let go of all decoders and headers."""
        with self._lock:
            streams, self._streams = self._streams, []
            self._headers.clear()
        for _, stream in streams:
            stream.close()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]


def _name(stored: StoredExample) -> Name:
    return stored.container, stored.offset, stored.key


def _open_stream(media: Part) -> CompressedStream:
    if not media.at_once:
        return CompressedStream(media.read, media.size)
    content = media.content()
    return CompressedStream(lambda offset, length: content[offset : offset + length], len(content))
