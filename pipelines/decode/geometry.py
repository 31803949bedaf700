"""Which part of a picture goes where: pure arithmetic on widths and heights in pixels.

A picture is upright here (after its EXIF orientation), x runs right and y down, and pixel i covers [i, i + 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..order.checked_numbers import whole_number

__all__ = ["Crop", "Fit", "Framing", "Size", "frame", "parse_size"]

Fit = Literal["crop", "pad", "stretch"]
Crop = Literal["center", "random"]
SCALES = (8, 4, 2)
Size = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True, slots=True)
class Framing:
    """A box of source pixels and the box of the output that it fills; `scale` ∈ {1, 2, 4, 8} divides the box.

    `box` is (left, top, right, bottom) in upright source pixels, `target_box` the same in output pixels. The source may
    be decoded at 1/scale of its size: the box then still falls on whole pixels, and is no smaller than the target box.
    """

    box: tuple[int, int, int, int]
    target_box: tuple[int, int, int, int]
    scale: int
    flip: bool

    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Rows of the (2, 3) matrix that takes (x, y, 1) of the source to output pixels."""
        left, top, right, bottom = self.box
        to_left, to_top, to_right, to_bottom = self.target_box
        x_scale = (to_right - to_left) / (right - left)
        y_scale = (to_bottom - to_top) / (bottom - top)
        y_row = (0.0, y_scale, to_top - top * y_scale)
        if self.flip:
            return (-x_scale, 0.0, to_right + left * x_scale, *y_row)
        return (x_scale, 0.0, to_left - left * x_scale, *y_row)


def parse_size(size: int | Size) -> Size:
    """(height, width) from one number (a square) or two.

    Raises `ValueError` for anything below 1, `TypeError` for what is neither one nor two whole numbers.
    """
    try:
        height, width = (
            whole_number("size", side, least=None)
            for side in (size if isinstance(size, Iterable) else (size, size))
        )
    except (TypeError, ValueError):
        what = "one whole number, or two: (height, width), in pixels"
        raise TypeError(f"size is {size!r}; it must be {what}.") from None
    if height < 1 or width < 1:
        raise ValueError(f"size is {size}; height and width must be at least 1 pixel.")
    if height * width > 1 << 30:
        raise ValueError(f"size is {size}; it may be {1 << 30:,} pixels at most.")
    return height, width


def frame(
    source: Size,
    target: Size,
    *,
    fit: Fit,
    crop: Crop,
    flip: bool,
    words: list[int],
    scales: tuple[int, ...] = SCALES,
) -> Framing:
    """Where the source goes in a target of (height, width) pixels.

    fit     "crop": the largest box of the target's shape, its place given by `crop`. "pad": all of the source, as
            large as fits, in the middle. "stretch": all of the source, over all of the target.
    words   three random 64-bit words: the box's column, its row, and whether a `flip` happens.
    scales  by which the source can be decoded smaller, the largest first.
    """
    height, width = source
    out_height, out_width = target
    target_box = (0, 0, out_width, out_height)
    box_height, box_width = height, width
    if fit == "crop":
        ratio = min(width / out_width, height / out_height)
        box_width = min(width, max(1, round(out_width * ratio)))
        box_height = min(height, max(1, round(out_height * ratio)))
    elif fit == "pad":
        ratio = min(out_width / width, out_height / height)
        inner_width = min(out_width, max(1, round(width * ratio)))
        inner_height = min(out_height, max(1, round(height * ratio)))
        left, top = (out_width - inner_width) // 2, (out_height - inner_height) // 2
        target_box = (left, top, left + inner_width, top + inner_height)
    inner = (target_box[3] - target_box[1], target_box[2] - target_box[0])
    scale = _scale((box_height, box_width), inner, scales)
    box_height, box_width = box_height // scale * scale, box_width // scale * scale
    columns, rows = (width - box_width) // scale, (height - box_height) // scale
    if crop == "random" and fit == "crop":
        left, top = _below(columns + 1, words[0]) * scale, _below(rows + 1, words[1]) * scale
    else:
        left, top = columns // 2 * scale, rows // 2 * scale
    box = (left, top, left + box_width, top + box_height)
    return Framing(box, target_box, scale, flip and bool(words[2] >> 63))


def _scale(box: Size, out: Size, scales: tuple[int, ...]) -> int:
    """The first scale that leaves no less than the output, and trims 1/32 of a side at most."""
    for scale in scales:
        if box[0] // scale >= max(out[0], 32) and box[1] // scale >= max(out[1], 32):
            return scale
    return 1


def _below(bound: int, word: int) -> int:
    return (word >> 32) * bound >> 32
