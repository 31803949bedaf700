"""Pixels into a slot of one size: crop, resize, mirror, channels. Pure: pixels in, pixels out.

All frames of a clip share one `Placement` and one `Framing`.
"""

from __future__ import annotations

from typing import Any, get_args

import numpy as np

from ..order.checked_numbers import flag as checked_flag
from ..order.randomness import Place
from .geometry import Crop, Fit, Framing, Size, frame, parse_size
from .pixel_channels import with_channels
from .resize import (
    BAND_BYTES,
    Pixels,
    ResizerName,
    Rows,
    pillow_resize,
    resize_in_bands,
    resolve_resizer,
    simd_resize,
)

__all__ = ["Placement"]


class Placement:
    """How pictures of any shape fill a slot (height, width, channel) of one `size`; None keeps each picture's own.

    fit, crop, flip   as in `geometry.frame`; a random crop and a flip are a function of where the example stands in
                      the run
    grayscale         one channel (ITU-R 601 luma) instead of RGB
    resizer           "simd", "torch", "pillow", "exact", or "auto": see `resize.resolve_resizer`
    """

    def __init__(
        self,
        *,
        size: int | Size | None = 256,
        fit: Fit = "crop",
        crop: Crop = "center",
        flip: bool = False,
        grayscale: bool = False,
        resizer: ResizerName = "auto",
    ) -> None:
        for name, value, allowed in (("fit", fit, get_args(Fit)), ("crop", crop, get_args(Crop))):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}.")
        self.size = None if size is None else parse_size(size)
        self.fit, self.crop = fit, crop
        self.flip, self.grayscale = checked_flag("flip", flip), checked_flag("grayscale", grayscale)
        self.resizer, self._resize = resolve_resizer(resizer)

    @property
    def channels(self) -> int:
        """1 with `grayscale`, else 3."""
        return 1 if self.grayscale else 3

    def words(self, place: Place) -> list[int]:
        """The random words that decide crop and flip at a place in the run; zeros where nothing is left to chance."""
        return place.words(3) if self.flip or self.crop == "random" else [0, 0, 0]

    def frame(self, height: int, width: int, target: Pixels, words: list[int]) -> Framing:
        """Which box of an upright source of this size goes where in the target (height, width, channel)."""
        size = (target.shape[0], target.shape[1])
        return frame((height, width), size, fit=self.fit, crop=self.crop, flip=self.flip, words=words)

    def inner(self, target: Pixels, framing: Framing) -> Pixels:
        """The part of the target that is filled; the rest of it becomes black."""
        left, top, right, bottom = framing.target_box
        inner = target[top:bottom, left:right]
        if inner.shape != target.shape:
            target[...] = 0
        return inner

    def fill(self, source: Pixels, target: Pixels, framing: Framing) -> None:
        """Fill the target with the whole of a source, cut out already: (height, width, channel) uint8.

        A source of other channels is converted; one channel is repeated for three.
        """
        if source.nbytes > BAND_BYTES:
            self.fill_from_rows(
                lambda top, bottom: source[top:bottom], len(source), source.shape[1], target, framing
            )
            return
        source, inner = with_channels(source, self.channels), self.inner(target, framing)
        if source.shape[:2] == inner.shape[:2]:
            inner[...] = source
        elif source.shape[2] == inner.shape[2]:
            self._resize(source, inner)
        else:
            gray = np.empty((*inner.shape[:2], 1), np.uint8)
            self._resize(source, gray)
            inner[...] = gray
        self.mirror(target, framing)

    def fill_from_rows(self, rows: Rows, height: int, width: int, target: Pixels, framing: Framing) -> None:
        """As `fill`, from a source of this size that is too large to be held or copied: some rows of it at a time."""
        inner = self.inner(target, framing)
        channels = with_channels(rows(0, 1), self.channels).shape[2]

        def converted(top: int, bottom: int) -> Pixels:
            return np.ascontiguousarray(with_channels(rows(top, bottom), self.channels))

        filled = inner if channels == inner.shape[2] else np.empty((*inner.shape[:2], channels), np.uint8)
        if (height, width) == inner.shape[:2]:
            step = max(1, BAND_BYTES // (width * channels))
            for top in range(0, height, step):
                filled[top : top + step] = converted(top, min(height, top + step))
        else:
            resize = simd_resize if self.resizer == "simd" else pillow_resize
            resize_in_bands(converted, height, filled, resize, row_bytes=width * channels)
        if filled is not inner:
            inner[...] = filled
        self.mirror(target, framing)

    def mirror(self, target: Pixels, framing: Framing) -> None:
        """Mirror the part of the target that was filled, where the framing says so."""
        if framing.flip:
            left, top, right, bottom = framing.target_box
            inner = target[top:bottom, left:right]
            inner[...] = inner[:, ::-1].copy()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_resize"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.resizer, self._resize = resolve_resizer(self.resizer)

    def __repr__(self) -> str:
        parts = [f"size={self.size}", f"fit={self.fit!r}", f"crop={self.crop!r}", f"flip={self.flip}"]
        return f"{', '.join(parts)}, grayscale={self.grayscale}, resizer={self.resizer!r}"
