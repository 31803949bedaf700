"""wav files of plain PCM: where their samples lie, and samples to floats. Nothing but bytes and arithmetic.

    RIFF size WAVE | fmt  … | LIST … | data size | frame 0 | frame 1 | …
    RF64 -1   WAVE | ds64 …                      ^ data_offset

Headers lie: sizes are compared with the bytes that are really there, and nothing is allocated from them. Formats:
IBM & Microsoft 1991, "Multimedia Programming Interface and Data Specifications"; RF64 and BW64 are EBU Tech 3306
and ITU-R BS.2088. Scaling is libsndfile's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...storage.blob import Read

__all__ = ["MAX_CHANNELS", "Encoding", "WavHeader", "pcm_into", "pcm_to_float", "read_wav_header"]

Encoding = Literal["u8", "s16", "s24", "s32", "f32", "f64"]

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
SUBFORMAT_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # of a GUID that begins with a plain format tag
ENCODINGS: dict[tuple[int, int], Encoding] = {
    (PCM, 8): "u8",
    (PCM, 16): "s16",
    (PCM, 24): "s24",
    (PCM, 32): "s32",
    (FLOAT, 32): "f32",
    (FLOAT, 64): "f64",
}
BYTES = {"u8": 1, "s16": 2, "s24": 3, "s32": 4, "f32": 4, "f64": 8}
UNKNOWN = 0xFFFFFFFF
MAX_CHUNKS = 1000
MAX_CHANNELS = 1024
"""As in libsndfile; a file whose header claims more is not read here."""
AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class WavHeader:
    """Where the samples of a wav lie. `frames` are those whose bytes are really there, whatever the header says.

    Frame i is the `frame_bytes` bytes at `data_offset + i · frame_bytes` (bytes from the start of the file).
    """

    sample_rate: int
    channels: int
    encoding: Encoding
    data_offset: int
    frames: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame: a sample of each channel."""
        return BYTES[self.encoding] * self.channels


def read_wav_header(read: Read, size: int) -> WavHeader | None:
    """The header of a wav of plain PCM, read through `read(offset, length)`; `size` is the file's true length.

    None for anything else: other files, compressed wavs, big-endian ones, samples that do not fill whole bytes. A
    data size of 0xFFFFFFFF, or of 0 in a file that was never closed, means to the end. Reads a few hundred bytes.
    """
    head = read(0, AT_ONCE)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:12] != b"WAVE":
        return None
    (riff_size,) = struct.unpack_from("<I", head, 4)
    layout: tuple[int, int, Encoding] | None = None
    data: tuple[int, int] | None = None
    long_size, position = UNKNOWN, 12
    for _ in range(MAX_CHUNKS):
        start = _piece(read, head, position, 8)
        if len(start) < 8:
            break
        kind, length = struct.unpack("<4sI", start)
        if kind == b"ds64" and head[:4] != b"RIFF":
            sizes = _piece(read, head, position + 8, 16)
            long_size = int.from_bytes(sizes[8:16], "little")
        elif kind == b"fmt ":
            layout = _layout(_piece(read, head, position + 8, min(length, 40)))
            if layout is None:
                return None
        elif kind == b"data" and data is None:
            length = long_size if length == UNKNOWN else length
            never_closed = length == 0 and abs(riff_size + 8 - size) > 1
            data = (position + 8, size if length == UNKNOWN or never_closed else length)
            length = data[1]
        if layout is not None and data is not None:
            sample_rate, channels, encoding = layout
            there = max(0, min(data[1], size - data[0]))
            return WavHeader(sample_rate, channels, encoding, data[0], there // (BYTES[encoding] * channels))
        position += 8 + length + length % 2
    return None


def pcm_to_float(raw: bytes, header: WavHeader) -> NDArray[np.float32]:
    """Bytes of whole frames to (time, channel) float32, as libsndfile scales them: integers come out in [-1, 1).

    Floats are taken as they are, beyond 1 too. Bytes after the last whole frame are left out.
    """
    out = np.empty((len(raw) // header.frame_bytes, header.channels), np.float32)
    pcm_into(raw, header, out)
    return out


def pcm_into(raw: bytes, header: WavHeader, out: NDArray[np.float32]) -> None:
    """`pcm_to_float` into (time, channel) float32 of any strides; it must hold exactly the frames of `raw`."""
    num = len(out) * header.channels
    encoding = header.encoding
    if encoding == "u8":
        samples = np.frombuffer(raw, np.uint8, num).reshape(out.shape)
        np.subtract(samples, np.float32(128), out=out, dtype=np.float32)
        np.multiply(out, np.float32(2**-7), out=out)
    elif encoding == "s16":
        samples = np.frombuffer(raw, "<i2", num).reshape(out.shape)
        np.multiply(samples, np.float32(2**-15), out=out, dtype=np.float32)
    elif encoding == "s24":
        wide = np.zeros((num, 4), np.uint8)  # the lowest byte stays 0
        wide[:, 1:] = np.frombuffer(raw, np.uint8, num * 3).reshape(num, 3)
        np.multiply(wide.view("<i4").reshape(out.shape), np.float32(2**-31), out=out, dtype=np.float32)
    elif encoding == "s32":
        samples = np.frombuffer(raw, "<i4", num).reshape(out.shape)
        np.multiply(samples, np.float32(2**-31), out=out, dtype=np.float32)
    else:
        out[...] = np.frombuffer(raw, "<f4" if encoding == "f32" else "<f8", num).reshape(out.shape)


def _piece(read: Read, head: bytes, offset: int, length: int) -> bytes:
    return head[offset : offset + length] if offset + length <= len(head) else read(offset, length)


def _layout(fmt: bytes) -> tuple[int, int, Encoding] | None:
    """(sample rate, channels, encoding) of a fmt chunk, None for what is not plain PCM."""
    if len(fmt) < 16:
        return None
    tag, channels, sample_rate, _, block_align, bits = struct.unpack_from("<HHIIHH", fmt)
    if tag == EXTENSIBLE:
        if len(fmt) < 40 or fmt[26:40] != SUBFORMAT_TAIL:
            return None
        (tag,) = struct.unpack_from("<H", fmt, 24)
    encoding = ENCODINGS.get((tag, bits))
    if encoding is None or not 0 < channels <= MAX_CHANNELS or not 0 < sample_rate < 1 << 31:
        return None
    return (sample_rate, channels, encoding) if block_align == BYTES[encoding] * channels else None
