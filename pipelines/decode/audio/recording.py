"""What a recording holds, whatever its format: frames that can really be decoded, sample rate, channels."""

from __future__ import annotations

from dataclasses import dataclass

from ...storage.blob import Read
from .compressed import CompressedStream
from .wav import WavHeader, read_wav_header

__all__ = ["Recording", "probe_recording"]


@dataclass(frozen=True, slots=True)
class Recording:
    """Length in frames (a sample of each channel), sample rate in Hz, channels.

    `wav` is the header of a wav of plain PCM, whose frames can be read by their bytes; None for anything else.
    """

    frames: int
    sample_rate: int
    channels: int
    wav: WavHeader | None = None

    @property
    def is_pcm(self) -> bool:
        """Whether its frames can be read by their bytes."""
        return self.wav is not None


def probe_recording(read: Read, size: int) -> Recording:
    """Look at a recording through `read(offset, length)`; `size` is its true length in bytes.

    A wav of plain PCM costs its header. Of other formats the last frame is decoded; all of them where a claim does
    not hold (a file that is cut off) or cannot be checked (ogg vorbis), a stretch at a time. Raises
    `UndecodableError`, and `ImportError` where another format needs soundfile and it is missing.
    """
    wav = read_wav_header(read, size)
    if wav is not None:
        return Recording(wav.frames, wav.sample_rate, wav.channels, wav)
    stream = CompressedStream(read, size)
    try:
        return Recording(stream.count(), stream.sample_rate, stream.channels)
    finally:
        stream.close()
