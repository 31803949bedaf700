"""Whole recordings for the command lines: any file that pipelines can decode, as one channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines import PipelineError
from pipelines.decode.audio.channels import to_channels
from pipelines.decode.audio.compressed import CompressedStream
from pipelines.decode.audio.recording import probe_recording
from pipelines.decode.audio.resampling import MOST_RATIO, import_soxr
from pipelines.decode.audio.wav import pcm_to_float
from pipelines.decode.errors import UndecodableError
from pipelines.storage.blob import LocalFile

__all__ = ["RecordingError", "read_recording", "resample"]


class RecordingError(Exception):
    """A recording that cannot be used; its text is the whole message."""


def read_recording(file: Path) -> tuple[NDArray[np.float32], int]:
    """The mean of a recording's channels, (time,) in [-1, 1], and its sample rate in Hz.

    Raises `RecordingError` for what is no recording or holds samples that are not finite, `ImportError` without
    soundfile for compressed ones, `OSError` for a file that cannot be read.
    """
    try:
        blob = LocalFile(file)
        found = probe_recording(blob.read, blob.size)
        if found.wav is not None:
            raw = blob.read(found.wav.data_offset, found.frames * found.wav.frame_bytes)
            samples = pcm_to_float(raw, found.wav)
        else:
            stream = CompressedStream(blob.read, blob.size)
            samples = stream.read(0, found.frames)
            stream.close()
    except UndecodableError as error:
        raise RecordingError(f"{file}: cannot be decoded: {error}. Name a recording.") from error
    except PipelineError as error:
        raise RecordingError(str(error)) from error
    if not np.isfinite(samples).all():
        raise RecordingError(f"{file}: holds samples that are not finite. Make it again, or leave it out.")
    return np.ascontiguousarray(to_channels(samples, 1)[:, 0]), found.sample_rate


def resample(samples: NDArray[np.float32], from_rate: int, to_rate: float) -> NDArray[np.float32]:
    """(time,) at another sample rate in Hz, by soxr. Raises `ImportError` without it.

    Raises `ValueError` for rates that are further apart than 256 times.
    """
    if from_rate == to_rate:
        return samples
    if not 1 / MOST_RATIO <= to_rate / from_rate <= MOST_RATIO:
        raise ValueError(f"{from_rate} Hz and {to_rate:g} Hz are too far apart to resample.")
    made: NDArray[np.float32] = import_soxr().resample(samples, from_rate, to_rate)
    return made
