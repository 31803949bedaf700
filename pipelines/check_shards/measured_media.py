"""Measuring the media of an example again, for the row of an index; and decoding it whole."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ..decode.audio.compressed import CompressedStream
from ..decode.audio.recording import probe_recording
from ..decode.errors import UndecodableError
from ..decode.video.measuring_process import measure_apart
from ..sharding.modalities.image import prepare_image
from ..sharding.modalities.video_examples import video_record
from ..sharding.source_reader import UnpackableError
from ..sources.located import Member
from ..storage.frame_table import FrameTable
from ..storage.index import Record

__all__ = ["Measured", "can_measure", "decode_media", "measure_media"]

AT_ONCE = 1 << 18
"""Samples of a recording that are decoded at a time, all channels together."""


class Measured(NamedTuple):
    """The row of one example, without its place, and the frame table of a video."""

    record: Record
    table: FrameTable | None = None


def _image(media: Member, max_pixels: int | None) -> Measured:
    return Measured(prepare_image(media.content(), "", max_pixels=max_pixels).record)


def _audio(media: Member, max_pixels: int | None) -> Measured:
    found = probe_recording(media.read, media.size)
    return Measured(
        Record(frames=found.frames, channels=found.channels, rate_numerator=found.sample_rate, rate_denominator=1)
    )


def _video(media: Member, max_pixels: int | None) -> Measured:
    table = measure_apart(media, max_pixels=max_pixels)
    return Measured(video_record(table), table)


MEASURED: dict[str, Callable[[Member, int | None], Measured]] = {"image": _image, "audio": _audio, "video": _video}


def can_measure(modality: str | None) -> bool:
    """Whether examples of a modality can be measured and decoded."""
    return modality in MEASURED


def measure_media(modality: str, media: Member, *, max_pixels: int | None = None) -> Measured:
    """Measure the media of an example as packing does. Raises `UndecodableError`, `ImportError` or `SourceError`."""
    return MEASURED[modality](media, max_pixels)


def decode_media(modality: str, media: Member, *, max_pixels: int | None = None) -> str:
    """Decode the whole media of an example; returns the reason of a failure, empty if there is none."""
    decode = {"image": _decode_image, "audio": _decode_audio, "video": _decode_video}[modality]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return partial(decode, media, max_pixels)()
    except (UndecodableError, UnpackableError) as error:
        return str(error)


def _decode_image(media: Member, max_pixels: int | None) -> str:
    prepare_image(media.content(), "", decode=True, max_pixels=max_pixels)
    return ""


def _decode_audio(media: Member, max_pixels: int | None) -> str:
    found = probe_recording(media.read, media.size)
    if found.is_pcm:
        return "" if found.frames else "it has no whole sample"
    stream = CompressedStream(media.read, media.size)
    try:
        claimed, step = stream.frames, max(1, AT_ONCE // max(1, found.channels))
        for start in range(0, found.frames, step):
            stop = min(start + step, found.frames)
            if len(stream.read(start, stop)) < stop - start:
                return f"it ends before frame {stop:,} of {found.frames:,}"
        is_exact = stream.subtype.startswith("PCM")
        return (
            f"{found.frames:,} of {claimed:,} frames can be decoded" if is_exact and claimed > found.frames else ""
        )
    finally:
        stream.close()


def _decode_video(media: Member, max_pixels: int | None) -> str:
    measure_apart(media, max_pixels=max_pixels)  # iterators pass over single broken frames
    return ""
