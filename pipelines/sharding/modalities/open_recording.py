"""One recording of the source, open: what it is, and its samples a stretch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ...decode.audio.channels import to_channels
from ...decode.audio.compressed import CompressedStream
from ...decode.audio.resampling import MOST_RATIO, import_soxr
from ...decode.audio.wav import pcm_to_float, read_wav_header
from ...decode.errors import UndecodableError
from ...errors import ShardingError
from ..source_reader import SourceReader, UnpackableError
from ..wording import printable
from .audio_encoding import Depth

__all__ = ["OpenRecording", "mixed", "resampled"]

BLOCK_SAMPLES = 1 << 20
DEPTHS: dict[str, Depth] = {
    "PCM_S8": "s16",
    "PCM_U8": "s16",
    "PCM_16": "s16",
    "PCM_24": "s24",
    "PCM_32": "f32",
    "FLOAT": "f32",
    "DOUBLE": "f32",
    "ULAW": "s16",
    "ALAW": "s16",
}
"""How libsndfile names what a file holds; what is not here comes from a lossy decoder."""


class OpenRecording:
    """A recording of `frames` frames that can really be read, inside a `with`; `wav` says where in plain PCM they lie.

    `claimed` is what its header says, where that can be more. Raises `UnpackableError` for anything else, and
    `ShardingError` where soundfile is missing, which is not the file's fault.
    """

    def __init__(self, file: SourceReader) -> None:
        self._file = file
        self.wav = read_wav_header(file.read, file.size)
        self._stream: CompressedStream | None = None
        if self.wav is not None:
            self.frames = self.claimed = self.wav.frames
            self.sample_rate, self.channels = self.wav.sample_rate, self.wav.channels
            self.depth: Depth = self.wav.encoding
        else:
            self._open_stream()
        if not self.frames:
            raise UnpackableError("a recording without a whole sample")

    def _open_stream(self) -> None:
        try:
            stream = self._stream = CompressedStream(self._file.read, self._file.size)
            self.claimed, self.frames = stream.frames, stream.count()
        except UndecodableError as error:
            raise UnpackableError(str(error)) from error
        except ImportError as error:
            raise ShardingError(
                f"{printable(self._file.path)}: no wav of plain PCM; {str(error).rstrip('.')}, and run the same "
                "command again."
            ) from error
        self.sample_rate, self.channels = stream.sample_rate, stream.channels
        self.depth = DEPTHS.get(stream.subtype, "lossy")
        if self.depth == "lossy" or not self.claimed:
            self.claimed = self.frames  # such formats, and a flac that was streamed, do not know their length

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """All samples in order, (time, channel) float32 a block. Raises `UnpackableError` where they end too early."""
        step = max(1, BLOCK_SAMPLES // self.channels)
        for start in range(0, self.frames, step):
            stop = min(start + step, self.frames)
            try:
                block = self._block(start, stop)
            except UndecodableError as error:
                raise UnpackableError(f"damaged after frame {start:,} of {self.frames:,} ({error})") from error
            if len(block) < stop - start:
                raise UnpackableError(f"damaged: {start + len(block):,} of {self.frames:,} frames can be decoded")
            yield block

    def _block(self, start: int, stop: int) -> NDArray[np.float32]:
        if self._stream is not None:
            return self._stream.read(start, stop)
        assert self.wav is not None
        return pcm_to_float(self.raw(start, stop), self.wav)

    def raw(self, start: int, stop: int) -> bytes:
        """The bytes of frames [start, stop) of plain PCM."""
        assert self.wav is not None, "only the frames of plain PCM lie somewhere"
        width = self.wav.frame_bytes
        return self._file.read(self.wav.data_offset + start * width, (stop - start) * width)

    def __enter__(self) -> OpenRecording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()


def mixed(blocks: Iterable[NDArray[np.float32]], channels: int) -> Iterator[NDArray[np.float32]]:
    """(time, channel) blocks with another number of channels: see `to_channels`. Raises `UnpackableError`."""
    for block in blocks:
        try:
            yield np.ascontiguousarray(to_channels(block, channels))
        except UndecodableError as error:
            raise UnpackableError(str(error)) from error


def resampled(
    blocks: Iterable[NDArray[np.float32]], channels: int, source_hz: int, target_hz: int
) -> Iterator[NDArray[np.float32]]:
    """(time, channel) blocks at another sample rate: what soxr makes of the whole, a block at a time.

    Raises `UnpackableError` for rates too far apart.
    """
    if source_hz == target_hz:
        yield from blocks
        return
    if not 1 / MOST_RATIO <= source_hz / target_hz <= MOST_RATIO:
        raise UnpackableError(f"its sample rate of {source_hz:,} Hz is too far from {target_hz:,} Hz")
    stream = import_soxr().ResampleStream(source_hz, target_hz, channels, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty((0, channels), np.float32), last=True)
