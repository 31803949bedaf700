"""Writing one example as a common file: a picture, a wav, a film strip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..decode.errors import UndecodableError
from ..errors import SourceError
from .one_example import ShownExample

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["write_example"]

MOST_SECONDS = 600
STRIP_FRAMES = 32


def write_example(shown: ShownExample, out: Path) -> str:
    """Write the example as a picture, a wav, or a film strip. Returns a description of the file.

    Raises `ValueError` for a wrong suffix, `SourceError` for an example that cannot be decoded.
    """
    write = {"image": _write_picture, "audio": _write_sound, "video": _write_strip}.get(shown.modality or "")
    if write is None:
        raise ValueError(
            f"{out}: an example of {shown.modality or 'an unknown kind'} is not drawn. Leave out --out."
        )
    try:
        return write(shown, out)
    except UndecodableError as error:
        located = shown.located
        raise SourceError(
            f"{located.container}: example {located.key!r} cannot be decoded: {error}. Restore the shard."
        ) from error


def _write_picture(shown: ShownExample, out: Path) -> str:
    from PIL import Image

    from ..decode.image.image_decoder import ImageDecoder
    from ..order.randomness import Place as RandomPlace

    decoder = ImageDecoder(size=None)
    pixels, _ = decoder.decode(shown.source[shown.index], RandomPlace(0, 0, 0))
    picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    _save(picture, out)
    return f"the picture, {picture.width} by {picture.height} pixels"


def _write_strip(shown: ShownExample, out: Path) -> str:
    from ..show_batch.showing import ShowOptions, draw_batch
    from ..sources.selection import Selection

    _save(
        draw_batch(Selection(shown.source, [shown.index]), "video", ShowOptions(num=1, clip_frames=STRIP_FRAMES)),
        out,
    )
    return "a strip of its first frames"


def _write_sound(shown: ShownExample, out: Path) -> str:
    from ..decode.audio.compressed import CompressedStream
    from ..decode.audio.recording import probe_recording
    from ..decode.audio.wav_writing import encode_wav

    if out.suffix.lower() != ".wav":
        raise ValueError(f"{out}: a recording is written as a wav. Name a file that ends in .wav.")
    media = shown.located.media
    found = probe_recording(media.read, media.size)
    if found.is_pcm:
        out.write_bytes(media.content())
        return f"the recording, {found.frames / found.sample_rate:,.2f} s"
    stream = CompressedStream(media.read, media.size)
    try:
        samples = stream.read(0, min(stream.count(), MOST_SECONDS * found.sample_rate))
    finally:
        stream.close()
    out.write_bytes(encode_wav(samples, found.sample_rate, "f32"))
    return f"the recording, {len(samples) / found.sample_rate:,.2f} s"


def _save(picture: Image.Image, out: Path) -> None:
    from ..show_batch.command import write_sheet

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ValueError(f"{out}: it is written as a picture. Name a file that ends in .png, .jpg or .webp.")
    write_sheet(picture, out)
