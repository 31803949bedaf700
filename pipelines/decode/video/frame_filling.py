"""Decoded frames into a clip's slot: scaled, turned upright, cut, mirrored. All frames of a clip are placed alike.

A frame is scaled whole, so that the box of `geometry.frame` comes out as large as its place in the output, and the box
is cut from that: one pass of FFmpeg's scaler, whose bilinear filter widens with the scale of the reduction. Every pixel
then gets its own chroma, because planes are asked for: of packed RGB the scaler gives two neighbours the same where the
width is even, or, told to give each its own, the same pixels in twice the time. Frames that keep their size are
those of plain PyAV, byte for byte.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ...order.checked_numbers import flag as checked_flag
from ...order.randomness import Place
from ...storage.frame_table import FrameTable
from ..errors import UndecodableError
from ..geometry import Crop, Fit, Size, frame, parse_size
from .av_package import import_av

__all__ = ["ClipPlacement", "FrameFilling"]

Pixels = NDArray[np.uint8]

MOST_SCALED_PIXELS = 1 << 27
"""Of a whole frame that a box is cut from."""


@dataclass(frozen=True, slots=True)
class ClipPlacement:
    """How the frames of one clip are placed: scaled to `scaled` and turned, their `box` goes to `target_box`.

    `scaled` is (height, width) of the upright frame, boxes are (left, top, right, bottom), all in pixels; `turns` are
    quarter turns against the clock. `transform` are the rows of the matrix from pixels of the upright video, as it is
    stored, to those of the output.
    """

    scaled: Size
    turns: int
    box: tuple[int, int, int, int]
    target_box: tuple[int, int, int, int]
    flip: bool
    transform: tuple[float, ...]


class FrameFilling:
    """How clips fill a slot of one `size`; None keeps each video's own, and its pixels' aspect.

    fit, crop, flip   as in `geometry.frame`; a random crop and a flip are a function of where the clip stands in the
                      run
    """

    def __init__(
        self,
        *,
        size: int | Size | None = 256,
        fit: Fit = "crop",
        crop: Crop = "center",
        flip: bool = False,
    ) -> None:
        for name, value, allowed in (("fit", fit, get_args(Fit)), ("crop", crop, get_args(Crop))):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}.")
        self.size = None if size is None else parse_size(size)
        self.fit, self.crop, self.flip = fit, crop, checked_flag("flip", flip)
        self._forget()

    def _forget(self) -> None:
        self._of_thread = threading.local()

    def place(self, table: FrameTable, place: Place) -> ClipPlacement:
        """Where the frames of a clip of a video go. Raises `UndecodableError` where they are too thin for it."""
        words = place.words(3) if self.flip or self.crop == "random" else [0, 0, 0]
        turns, (height, width) = int(table.head["turns"]), table.size
        if self.size is None:
            whole, flipped = (0, 0, width, height), self.flip and bool(words[2] >> 63)
            return ClipPlacement(
                (height, width), turns, whole, whole, flipped, _transform((1, 1), (0, 0), whole, flipped)
            )
        aspect = table.pixel_aspect if turns % 2 == 0 else 1 / table.pixel_aspect
        shown = _shown_size(height, width, aspect)
        framing = frame(shown, self.size, fit=self.fit, crop=self.crop, flip=self.flip, words=words, scales=())
        left, top, right, bottom = framing.box
        to_left, to_top, to_right, to_bottom = framing.target_box
        scaled_width, cut_left = _scaled(shown[1], left, right, to_right - to_left)
        scaled_height, cut_top = _scaled(shown[0], top, bottom, to_bottom - to_top)
        if scaled_height * scaled_width > MOST_SCALED_PIXELS:
            raise UndecodableError(
                f"{shown[1]:,} × {shown[0]:,} pixels are too thin for size {self.size} and fit={self.fit!r}: use "
                "fit='pad' or 'stretch'"
            )
        box = (cut_left, cut_top, cut_left + to_right - to_left, cut_top + to_bottom - to_top)
        scales = (scaled_width / width, scaled_height / height)
        transform = _transform(scales, (to_left - cut_left, to_top - cut_top), framing.target_box, framing.flip)
        return ClipPlacement((scaled_height, scaled_width), turns, box, framing.target_box, framing.flip, transform)

    def fill(self, source: Any, target: Pixels, placement: ClipPlacement) -> None:
        """One frame of PyAV into (height, width, 3) uint8; what lies around its place becomes black."""
        left, top, right, bottom = placement.target_box
        inner = target[top:bottom, left:right]
        if inner.shape != target.shape:
            target[...] = 0
        height, width = placement.scaled if placement.turns % 2 == 0 else placement.scaled[::-1]
        if (source.height, source.width) == (height, width):
            made = self._reformatter().reformat(source, width, height, format="rgb24", threads=1)
            inner[...] = _placed(_rows(made.planes[0], height, 3 * width), placement, channels=3)
            return
        made = self._reformatter().reformat(
            source, width, height, format="gbrp", interpolation=_exactly_bilinear(), threads=1
        )
        for channel, plane in zip((1, 2, 0), made.planes, strict=True):
            inner[:, :, channel] = _placed(_rows(plane, height, width), placement)

    def _reformatter(self) -> Any:
        """The scaler of this thread."""
        if not hasattr(self._of_thread, "reformatter"):
            self._of_thread.reformatter = import_av().video.reformatter.VideoReformatter()
        return self._of_thread.reformatter

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_of_thread"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __repr__(self) -> str:
        return f"size={self.size}, fit={self.fit!r}, crop={self.crop!r}, flip={self.flip}"


def _exactly_bilinear() -> Any:
    """Bilinear, and exact where thousands of pixels become one."""
    kinds = import_av().video.reformatter.Interpolation
    return kinds.BILINEAR | kinds.ACCURATE_RND


def _rows(plane: Any, height: int, row_bytes: int) -> Pixels:
    """The rows of a plane, (height, bytes) uint8: a view of the scaler's memory."""
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, :row_bytes]


def _placed(rows: Pixels, placement: ClipPlacement, *, channels: int = 0) -> Pixels:
    """Rows of a scaled frame, turned upright, cut and mirrored: (height, width), or with channels behind; a view."""
    pixels = rows
    if channels:
        shape = (len(rows), rows.shape[1] // channels, channels)
        pixels = np.lib.stride_tricks.as_strided(rows, shape, (rows.strides[0], channels, 1), writeable=False)
    if placement.turns:
        pixels = np.rot90(pixels, placement.turns)
    left, top, right, bottom = placement.box
    cut = pixels[top:bottom, left:right]
    return cut[:, ::-1] if placement.flip else cut


def _shown_size(height: int, width: int, aspect: Fraction) -> Size:
    """(height, width) in square pixels: the longer side of a pixel is stretched, so that none are lost."""
    if aspect >= 1:
        return height, max(1, round(width * aspect))
    return max(1, round(height / aspect)), width


def _scaled(length: int, begin: int, end: int, target: int) -> tuple[int, int]:
    """A side of the whole such that its part [begin, end) is `target` long, and where that part then begins."""
    scaled = max(target, round(Fraction(length * target, end - begin)))
    return scaled, min(scaled - target, round(Fraction(begin * scaled, length)))


def _transform(
    scales: tuple[float, float], moved: tuple[int, int], target_box: tuple[int, int, int, int], flip: bool
) -> tuple[float, ...]:
    x_scale, y_scale = scales
    if flip:
        return (-x_scale, 0.0, target_box[0] + target_box[2] - moved[0], 0.0, y_scale, moved[1])
    return (x_scale, 0.0, moved[0], 0.0, y_scale, moved[1])
