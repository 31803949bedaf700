"""Samples to the bytes of a wav or flac file, which depend on the samples (and libFLAC's version) and nothing else.

    samples are          in a wav      in a flac
    8-bit integers       u8            16 bit
    16-bit, 24-bit       s16, s24      16, 24 bit
    32-bit integers      s32           none: they do not fit
    floats               f32, f64      24 bit: rounded, clipped at full scale
    decoded ogg, mp3     f32           16 bit: rounded, clipped at full scale

Resampled or mixed samples are rounded to 16 bits where they came from 8 or 16, to 24 where from 24, and are floats
where they came from anything else.
"""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...decode.audio import wav_writing
from ...decode.audio.wav import Encoding
from ..source_reader import UnpackableError

__all__ = ["Depth", "encode_flac", "encode_wav", "flac_bits", "import_soundfile", "wav_encoding"]

Depth = Literal["u8", "s16", "s24", "s32", "f32", "f64", "lossy"]
"""What samples are in the file they come from: an encoding of plain PCM, or what a lossy decoder made."""


def wav_encoding(depth: Depth, *, changed: bool) -> Encoding:
    """How samples are kept in a wav; `changed`: resampled or mixed."""
    if depth == "lossy":
        return "f32"
    if changed:
        return "s16" if depth == "u8" else depth if depth in ("s16", "s24") else "f32"
    return depth


def flac_bits(depth: Depth, *, changed: bool) -> int | None:
    """Bits of a sample in a flac; None where they do not fit."""
    if depth == "s32" and not changed:
        return None
    return 16 if depth in ("u8", "s16", "lossy") else 24


def encode_flac(samples: NDArray[np.float32], sample_rate: int, bits: int) -> bytes:
    """A flac of (time, channel) float32 samples, rounded to `bits` (16 or 24) and clipped."""
    soundfile, target = import_soundfile(), io.BytesIO()
    left_justified = _finite_integers(samples, bits) << (32 - bits)
    try:
        soundfile.write(target, left_justified, sample_rate, format="FLAC", subtype=f"PCM_{bits}")
    except soundfile.LibsndfileError as error:
        raise UnpackableError(f"cannot be encoded as flac ({error.error_string.rstrip('. ')})") from error
    return target.getvalue()


def import_soundfile() -> Any:
    """The soundfile package. Raises `ImportError` with the command that installs it."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the package without libsndfile
        raise ImportError("anything but wav of plain PCM needs soundfile: pip install soundfile") from error
    return soundfile


def encode_wav(samples: NDArray[np.float32], sample_rate: int, encoding: Encoding) -> bytes:
    """`wav_writing.encode_wav`. Raises `UnpackableError` for samples that cannot be integers."""
    try:
        return wav_writing.encode_wav(samples, sample_rate, encoding)
    except ValueError as error:
        raise UnpackableError(str(error)) from error


def _finite_integers(samples: NDArray[np.float32], bits: int) -> NDArray[np.int32]:
    try:
        return wav_writing.to_integers(samples, bits)
    except ValueError as error:
        raise UnpackableError(str(error)) from error
