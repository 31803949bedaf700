"""Small pictures of examples: the middle frame of a clip, the spectrogram of a sound."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dirvae.drawing.media import Media
from dirvae.drawing.spectrograms import mel_levels, spectrogram_pixels

__all__ = ["THUMBNAIL_PIXELS", "sound_picture", "thumbnail_of"]

THUMBNAIL_PIXELS = 96
"""The longer side of a thumbnail, at most."""


def thumbnail_of(media: Media, item: int = 0, *, largest: int = THUMBNAIL_PIXELS) -> NDArray[np.uint8]:
    """A small picture of an item, uint8 (height, width, 3), reduced to at most `largest` pixels per side."""
    if media.pictures is not None:
        pixels = media.pictures[item]
    elif media.clips is not None:
        pixels = media.clips[item, media.clips.shape[1] // 2]
    else:
        assert media.sounds is not None
        assert media.sample_rate is not None
        return sound_picture(media.sounds[item], media.sample_rate, size=(largest, largest))
    picture = Image.fromarray(pixels)
    picture.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    return np.array(picture)


def sound_picture(sound: NDArray[np.float32], sample_rate: int, *, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The spectrogram of a sound (sample,) as a picture of `size` (height, width): uint8 (height, width, 3)."""
    levels = mel_levels([torch.from_numpy(np.ascontiguousarray(sound))], Fraction(sample_rate))[0]
    picture = Image.fromarray(spectrogram_pixels(levels))
    return np.array(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))
