"""Media as arrays for the page, and what was shown last, so that an export is made of the same pixels."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dirvae.drawing.media import Media

__all__ = ["Shown", "ShownLately", "media_arrays"]

MOST_BYTES = 128 << 20


@dataclass(frozen=True, eq=False)
class Shown:
    """What a page shows: media in rows of `columns`, and the name of a file that holds them."""

    media: Media
    columns: int = 1
    name: str = "latent"

    @property
    def num_bytes(self) -> int:
        """Of the arrays."""
        return int(self.media.values.nbytes)


@dataclass(eq=False)
class ShownLately:
    """What was shown lately, by number, up to a number of bytes; the oldest is forgotten."""

    most_bytes: int = MOST_BYTES
    _kept: OrderedDict[int, Shown] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _next: int = 1

    def keep(self, shown: Shown) -> int:
        """Remember it; its number."""
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._kept[number] = shown
            while len(self._kept) > 1 and sum(one.num_bytes for one in self._kept.values()) > self.most_bytes:
                self._kept.popitem(last=False)
            return number

    def find(self, number: int) -> Shown | None:
        """What has the number, None if it was forgotten."""
        with self._lock:
            return self._kept.get(number)


def media_arrays(media: Media, prefix: str = "") -> tuple[dict[str, Any], Mapping[str, NDArray[Any]]]:
    """Facts and arrays of media: "pictures" (num, height, width, 3), "clips" (num, time, height, width, 3), or
    "sounds" (num, sample) with "spectrograms" (num, mel, frame, 3)."""
    if media.kind == "image":
        assert media.pictures is not None
        return {}, {f"{prefix}pictures": media.pictures}
    if media.kind == "video":
        assert media.clips is not None
        return {f"{prefix}frames_per_second": media.frames_per_second}, {f"{prefix}clips": media.clips}
    assert media.sounds is not None
    assert media.sample_rate is not None
    facts = {f"{prefix}sample_rate": media.sample_rate}
    sounds = np.nan_to_num(media.sounds, nan=0.0, posinf=0.0, neginf=0.0)
    return facts, {f"{prefix}sounds": sounds, f"{prefix}spectrograms": _spectrograms(sounds, media.sample_rate)}


def _spectrograms(sounds: NDArray[np.float32], sample_rate: int) -> NDArray[np.uint8]:
    import torch

    from dirvae.drawing.spectrograms import mel_levels, spectrogram_pixels

    if not len(sounds):
        return np.zeros((0, 1, 1, 3), np.uint8)
    levels = mel_levels([torch.from_numpy(sound) for sound in sounds], Fraction(sample_rate))
    return np.stack([spectrogram_pixels(level) for level in levels])
