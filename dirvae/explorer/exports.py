"""Files of what a page shows: the same pixels and samples as PNG, GIF and WAV."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dirvae.explorer.showing import Shown
from pipelines.decode.audio.wav_writing import encode_wav

__all__ = ["FORMATS", "ExportError", "export", "formats_of"]

FORMATS = {"png": "image/png", "gif": "image/gif", "wav": "audio/wav"}
GAP = 4
"""Pixels between the cells of a sheet: white."""
STILL_MILLISECONDS = 120
"""How long an animation of pictures shows each of them."""


class ExportError(ValueError):
    """What is shown cannot be had in a format; its text is a sentence."""


def formats_of(shown: Shown) -> tuple[str, ...]:
    """The formats that exist of what is shown: PNG of pictures, GIF of several or of clips, WAV of sounds."""
    kind, num = shown.media.kind, len(shown.media)
    if kind == "audio":
        return ("png", "wav")
    return ("png", "gif") if kind == "video" or num > 1 else ("png",)


def export(shown: Shown, wanted: str, *, cell: int | None = None) -> bytes:
    """The file of all cells, or of one. Raises `ExportError`.

    PNG: pictures, first frames or spectrograms in their rows. GIF: clips in their rows, moving in step, or pictures one
    after the other. WAV: sounds one after the other.
    """
    media = shown.media
    if wanted not in formats_of(shown):
        raise ExportError(f"There is no {wanted.upper()} of what is shown; there is {', '.join(formats_of(shown))}.")
    if cell is not None and not 0 <= cell < len(media):
        raise ExportError(f"There is no cell {cell}; there are {len(media)}.")
    chosen = slice(None) if cell is None else slice(cell, cell + 1)
    columns = shown.columns if cell is None else 1
    if wanted == "wav":
        assert media.sounds is not None
        return encode_wav(media.sounds[chosen].reshape(-1, 1), round(media.sample_rate or 1), "s16")
    if wanted == "png":
        return _png(_sheet(_stills(shown)[chosen], columns))
    if media.clips is not None:
        clips = media.clips[chosen]
        frames = [_sheet(clips[:, time], columns) for time in range(clips.shape[1])]
        return _gif(frames, round(1000 / (media.frames_per_second or 10)))
    assert media.pictures is not None
    return _gif(list(media.pictures[chosen]), STILL_MILLISECONDS)


def _stills(shown: Shown) -> NDArray[np.uint8]:
    media = shown.media
    if media.pictures is not None:
        return media.pictures
    if media.clips is not None:
        return media.clips[:, 0]
    import torch

    from dirvae.drawing.spectrograms import mel_levels, spectrogram_pixels

    assert media.sounds is not None
    levels = mel_levels([torch.from_numpy(sound) for sound in media.sounds], Fraction(media.sample_rate or 1))
    return np.stack([spectrogram_pixels(level) for level in levels])


def _sheet(tiles: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Tiles (num, height, width, 3) in rows, with white gaps: one picture."""
    num, height, width = tiles.shape[:3]
    rows = -(-num // columns)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * (height + GAP), place % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _gif(frames: list[NDArray[np.uint8]], milliseconds: int) -> bytes:
    """An animation that plays again and again; its colours are reduced to 256 per frame, as the format wants."""
    pictures = [Image.fromarray(frame).quantize(256, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=max(20, milliseconds), loop=0, disposal=2
    )
    return buffer.getvalue()
