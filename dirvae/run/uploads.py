"""A file of the user: decoded as the run's own data is, within limits, and encoded."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from dirvae.ddsp.loudness import loudness_curve
from dirvae.networks.audio import AudioVAE, SoundClips
from dirvae.recordings import resample
from dirvae.run.config import RunConfig
from dirvae.run.explored_data import EncodedPart, encode_clips, encoder_of
from dirvae.tasks.audio import AudioData
from dirvae.tasks.visual_settings import VisualData
from pipelines import ExampleError, FolderSource, PipelineError
from pipelines.decode.audio.channels import to_channels
from pipelines.decode.audio.compressed import CompressedStream
from pipelines.decode.audio.recording import probe_recording
from pipelines.decode.audio.wav import pcm_to_float
from pipelines.decode.errors import UndecodableError
from pipelines.modality import HEAD_BYTES
from pipelines.shown_names import shown_name

__all__ = ["MOST_PIXELS", "MOST_SECONDS", "MOST_UPLOAD_BYTES", "UploadError", "read_upload"]

MOST_UPLOAD_BYTES = 64 << 20
MOST_PIXELS = 1 << 25
"""Pixels of an uploaded picture or frame."""
MOST_SECONDS = 600
"""Length of an uploaded recording."""
MOST_RATE, MOST_CHANNELS = 384_000, 32
"""Sample rate in Hz and channels of an uploaded recording."""


class UploadError(ValueError):
    """A file that cannot be used; its text is the whole message."""


def read_upload(content: bytes, name: str, config: RunConfig, model: Any) -> EncodedPart:
    """The first clip, or the picture, of a file's content as one encoded example. Raises `UploadError`.

    `name` is the name of the file, for errors; its type follows from the content alone.
    """
    shown = shown_name(Path(name).name or "the file", quoted=False)
    if len(content) > MOST_UPLOAD_BYTES:
        raise UploadError(
            f"{shown}: has {len(content):,} bytes; up to {MOST_UPLOAD_BYTES:,} are taken. Make it smaller."
        )
    modality = config.task.modality
    suffix = modality.sniff(content[:HEAD_BYTES])
    if suffix is None:
        reason = modality.why_unknown(content[:HEAD_BYTES])
        raise UploadError(f"{shown}: {reason}. Give {modality.with_article}.")
    try:
        if config.type == "audio":
            return encode_clips(model, _read_sound(content, config, model))
        return _read_pictures(content, suffix, config, model)
    except UndecodableError as error:
        raise UploadError(f"{shown}: cannot be decoded: {error}. Give another file.") from error
    except ExampleError as error:
        reason = error.reason.partition("; a larger max_pixels")[0]  # a user of the page cannot raise the limit
        raise UploadError(f"{shown}: cannot be decoded: {reason}. Give another file.") from error
    except PipelineError as error:
        raise UploadError(f"{shown}: cannot be used as {modality.with_article}. Give another file.") from error


def _read_pictures(content: bytes, suffix: str, config: RunConfig, model: Any) -> EncodedPart:
    """By the run's own iterator, over a folder that holds this file alone."""
    settings = cast(VisualData, config.data)
    most = MOST_PIXELS if settings.max_pixels is None else min(settings.max_pixels, MOST_PIXELS)
    settings = replace(settings, batch_size=1, threads=1, on_error="raise", max_pixels=most)
    fields = ("pts_seconds",) if config.type == "video" else ()
    with tempfile.TemporaryDirectory(prefix="dirvae-upload-") as folder:
        (Path(folder) / f"upload.{suffix}").write_bytes(content)
        source = FolderSource(folder, modality=config.type)
        iterator = config.task.open_iterator(source, settings, shuffle=False, seed=0, tail="keep", fields=fields)
        with closing(iterator):
            for batch in iterator:
                return encoder_of(model, settings)(batch)
    raise UndecodableError("it is shorter than a clip of the model")


def _read_sound(content: bytes, config: RunConfig, model: AudioVAE) -> SoundClips:
    """The first clip of a recording, with the pitch and the loudness that the model reads."""
    settings = cast(AudioData, config.data)
    rate = float(model.sample_rate)
    samples, own_rate = _decoded(content, settings.clip_seconds)
    try:
        samples = resample(samples, own_rate, rate)
    except ValueError as error:
        raise UndecodableError(str(error).rstrip(".")) from error
    samples = samples[: settings.window]
    if not len(samples) or not np.abs(samples).max() > 0:
        raise UndecodableError("its beginning is silent")
    sound = torch.from_numpy(np.ascontiguousarray(samples))[None]
    f0 = model.track_f0(sound)
    loudness = loudness_curve(sound, model.sample_rate, rate=model.control_rate).values
    rows = min(model.num_rows(sound.shape[1]), f0.shape[1], loudness.shape[1])
    return SoundClips(sound, f0[:, :rows].float(), loudness[:, :rows].float())


def _decoded(content: bytes, seconds: float) -> tuple[np.ndarray[Any, np.dtype[np.float32]], int]:
    """The mean of the channels of the first `seconds` of a recording, and its sample rate in Hz."""

    def read(offset: int, length: int) -> bytes:
        return content[offset : offset + length]

    found = probe_recording(read, len(content))
    if found.frames > MOST_SECONDS * found.sample_rate:
        raise UndecodableError(f"it lasts longer than {MOST_SECONDS} s")
    if found.sample_rate > MOST_RATE or found.channels > MOST_CHANNELS:
        raise UndecodableError(f"it has {found.channels} channels of {found.sample_rate:,} Hz, which is too much")
    num = min(found.frames, round(seconds * found.sample_rate) + 1)
    if found.wav is not None:
        samples = pcm_to_float(read(found.wav.data_offset, num * found.wav.frame_bytes), found.wav)
    else:
        stream = CompressedStream(read, len(content))
        try:
            samples = stream.read(0, num)
        finally:
            stream.close()
    if not np.isfinite(samples).all():
        raise UndecodableError("it holds samples that are not finite")
    return np.ascontiguousarray(to_channels(samples, 1)[:, 0]), found.sample_rate
