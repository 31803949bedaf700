"""Samples to the bytes of a wav of plain PCM: the inverse of `wav.py`."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from .wav import Encoding

__all__ = ["encode_wav", "to_integers", "wav_bytes"]

PCM_TAG, FLOAT_TAG = 1, 3


def encode_wav(samples: NDArray[np.float32], sample_rate: int, encoding: Encoding) -> bytes:
    """A wav of (time, channel) samples as floats or, rounded and clipped, as integers of 16 or 24 bits.

    Raises `ValueError` for samples that are not finite where they are to be integers.
    """
    if encoding == "f32":
        raw = samples.astype("<f4").tobytes()
    elif encoding == "s16":
        raw = to_integers(samples, 16).astype("<i2").tobytes()
    else:
        assert encoding == "s24", "bytes of any other encoding are cut, not made"
        raw = np.ascontiguousarray(to_integers(samples, 24), "<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return wav_bytes(raw, sample_rate, samples.shape[1], encoding)


def wav_bytes(raw: bytes, sample_rate: int, channels: int, encoding: Encoding) -> bytes:
    """The header of a wav before its samples, which are in this encoding already."""
    is_float, bits = encoding[0] == "f", int(encoding[1:])
    block = bits // 8 * channels
    tag = FLOAT_TAG if is_float else PCM_TAG
    layout = struct.pack("<HHIIHH", tag, channels, sample_rate, sample_rate * block & 0xFFFFFFFF, block, bits)
    head = b"WAVEfmt " + (struct.pack("<I", 18) + layout + b"\0\0" if is_float else struct.pack("<I", 16) + layout)
    if is_float:
        head += b"fact" + struct.pack("<II", 4, len(raw) // block)
    head += b"data" + struct.pack("<I", len(raw))
    pad = bytes(len(raw) % 2)
    return b"".join((b"RIFF", struct.pack("<I", len(head) + len(raw) + len(pad)), head, raw, pad))


def to_integers(samples: NDArray[np.float32], bits: int) -> NDArray[np.int32]:
    """Floats in [-1, 1) as integers of `bits` bits, rounded and clipped. Raises `ValueError` for one not finite."""
    if not np.isfinite(samples).all():
        raise ValueError("holds samples that are not finite")
    full = 2.0 ** (bits - 1)
    scaled: NDArray[np.int32] = np.clip(np.rint(samples.astype(np.float64) * full), -full, full - 1).astype(
        np.int32
    )
    return scaled
