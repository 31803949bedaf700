"""Decoded frames as they are encoded again: upright, of one even size, in 8 bits and 4:2:0, their colours unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ...decode.video.av_package import import_av
from ...storage.frame_table import FrameTable

__all__ = ["PIXEL_FORMAT", "Colours", "FramePlacing", "even_size"]

PIXEL_FORMAT = "yuv420p"
LIMITED, FULL = 1, 2
BT709 = 1
RGB = 0


def even_size(size: tuple[int, int], shorter: int | None) -> tuple[int, int]:
    """(height, width) with this shorter side, if that is less than it is; both even."""
    scale = Fraction(1) if shorter is None else min(Fraction(1), Fraction(shorter, min(size)))
    height, width = (
        max(2, 2 * int(side * scale / 2 + Fraction(1, 2)) if scale < 1 else side // 2 * 2) for side in size
    )
    return height, width


@dataclass(frozen=True, slots=True)
class Colours:
    """What the numbers of pixels mean, as FFmpeg counts it (ISO/IEC 23091-2); 0 or 2 where that is not said."""

    range: int
    matrix: int
    primaries: int
    transfer: int
    was_rgb: bool

    @classmethod
    def of(cls, frame: Any) -> Colours:
        """Those of a decoded frame; pixels of RGB become BT.709 in limited range."""
        name, matrix = str(frame.format.name), int(frame.colorspace)
        primaries, transfer = int(frame.color_primaries), int(frame.color_trc)
        if frame.format.is_rgb or matrix == RGB:
            return cls(LIMITED, BT709, primaries, transfer, True)
        return cls(FULL if name.startswith("yuvj") else int(frame.color_range), matrix, primaries, transfer, False)

    def write_to(self, context: Any) -> None:
        """Have an encoder write them into its file."""
        context.color_range, context.colorspace = self.range, self.matrix
        context.color_primaries, context.color_trc = self.primaries, self.transfer


@dataclass(frozen=True)
class FramePlacing:
    """(height, width) of the upright frames that are made, the aspect of their pixels, quarter turns, and colours."""

    height: int
    width: int
    pixel_aspect: Fraction
    turns: int
    colours: Colours
    reformatter: Any

    @classmethod
    def of(cls, frame: Any, table: FrameTable, shorter: int | None) -> FramePlacing:
        """For a video with this first frame."""
        from av.video.reformatter import VideoReformatter

        (height, width), turns = even_size(table.size, shorter), int(table.head["turns"])
        aspect = 1 / table.pixel_aspect if turns % 2 else table.pixel_aspect
        return cls(height, width, aspect, turns, Colours.of(frame), VideoReformatter())

    def write_to(self, context: Any) -> None:
        """Have an encoder write into its file what pixels are."""
        context.sample_aspect_ratio = self.pixel_aspect
        self.colours.write_to(context)

    def place(self, frame: Any) -> Any:
        """A frame as it is encoded, without a time; which kind of frame it was is forgotten."""
        height, width = (self.width, self.height) if self.turns % 2 else (self.height, self.width)
        placed = self.reformatter.reformat(frame, width, height, PIXEL_FORMAT, threads=1, **self._colour_settings())
        if self.turns:
            placed = _turned(placed, self.turns)
        placed.pict_type = 0
        return placed

    def _colour_settings(self) -> dict[str, Any]:
        from av.video.reformatter import Interpolation

        settings: dict[str, Any] = {"interpolation": Interpolation.LANCZOS | Interpolation.ACCURATE_RND}
        if self.colours.was_rgb:
            return {**settings, "dst_colorspace": "ITU709", "dst_color_range": LIMITED}
        return {**settings, "src_color_range": self.colours.range, "dst_color_range": self.colours.range}


def _turned(frame: Any, turns: int) -> Any:
    """A frame of 4:2:0, turned by quarter turns against the clock."""
    height, width = frame.height, frame.width
    flat = frame.to_ndarray().ravel()
    luma, chroma = flat[: height * width].reshape(height, width), flat[height * width :]
    planes = [luma, *chroma.reshape(2, height // 2, width // 2)]
    turned = np.concatenate([np.rot90(plane, turns).ravel() for plane in planes])
    shape = (width, height) if turns % 2 else (height, width)
    rows = turned.reshape(shape[0] * 3 // 2, shape[1])
    return import_av().VideoFrame.from_ndarray(rows, format=PIXEL_FORMAT)
