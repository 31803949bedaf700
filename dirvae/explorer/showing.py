"""Media as arrays for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dirvae.drawing.media import Media
    from dirvae.explore.sheet import Chart, Sheet

__all__ = ["Shown", "ShownChart", "joined", "media_arrays"]


@dataclass(frozen=True, eq=False)
class Shown:
    """Media that the page shows: one item, or all cells of a sheet. `name`: of an exported file, without its suffix."""

    media: Media
    name: str
    sheet: Sheet | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes of the arrays."""
        return int(self.media.values.nbytes)

    def spectrograms(self) -> NDArray[np.uint8]:
        """Spectrograms of sounds: (num, mel, frame, 3), levels relative to the loudest point of each sound."""
        import torch

        from dirvae.drawing.spectrograms import mel_levels, spectrogram_pixels

        rate = Fraction(self.media.sample_rate or 1)
        sounds = np.nan_to_num(self.media.values.astype(np.float32))
        return np.stack([spectrogram_pixels(mel_levels([torch.from_numpy(one)], rate)[0]) for one in sounds])


@dataclass(frozen=True, eq=False)
class ShownChart:
    """A chart that the page shows. `name`: of an exported file, without its suffix."""

    chart: Chart
    name: str

    @property
    def num_bytes(self) -> int:
        """Bytes of the drawing."""
        return len(self.chart.svg)


def joined(parts: Sequence[Media]) -> Media:
    """Media of one kind, joined in this order; shorter sounds and clips are padded with silence or black frames."""
    first = parts[0]
    return replace(
        first,
        pictures=_joined_arrays([part.pictures for part in parts]),
        clips=_joined_arrays([part.clips for part in parts]),
        sounds=_joined_arrays([part.sounds for part in parts]),
    )


def _joined_arrays(arrays: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    some = [array for array in arrays if array is not None]
    if not some:
        return None
    most = max(array.shape[1] for array in some)
    padded = [np.pad(a, [(0, 0), (0, most - a.shape[1]), *[(0, 0)] * (a.ndim - 2)]) for a in some]
    return np.concatenate(padded)


def media_arrays(shown: Shown) -> tuple[dict[str, Any], Mapping[str, NDArray[Any]]]:
    """Facts and arrays of media: "pictures" (num, height, width, 3), "clips" (num, time, height, width, 3), or
    "sounds" (num, sample) with "spectrograms" (num, mel, frame, 3)."""
    media = shown.media
    if media.pictures is not None:
        return {}, {"pictures": media.pictures}
    if media.clips is not None:
        return {"frames_per_second": media.frames_per_second}, {"clips": media.clips}
    assert media.sounds is not None
    sounds = np.nan_to_num(media.sounds)
    return {"sample_rate": media.sample_rate}, {"sounds": sounds, "spectrograms": shown.spectrograms()}
