"""Sheets of tiles with labels beside, above and below them and a caption, as pictures and as animations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.show_batch.style import INK, PAPER, QUIET
from pipelines.show_batch.text import draw_text, line_height, shorten, text_width, wrap

__all__ = ["Labels", "draw_labelled_sheet", "gif_bytes", "png_bytes", "with_caption"]

Pixels = NDArray[np.uint8]

TILE = 144
"""Longer side of a tile in pixels; smaller and larger pictures are scaled to it."""
MARGIN, GAP = 28, 10
LABEL, CAPTION = 7.5, 9.0
"""Heights of letters in points of two pixels."""
MOST_BESIDE = 260
"""Width in pixels of the labels beside rows, at most."""
MOST_LINES, MOST_CAPTION_LINES = 2, 8
LEAST_CAPTION = 460
"""Width in pixels of a caption, at least."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """One label per row, per column and per cell, row by row; () for none. `cell_lines` is the number of lines below
    each cell; None: as many as the labels need, at most two.
    """

    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    cells: Sequence[str] = ()
    cell_lines: int | None = None


def draw_labelled_sheet(tiles: Sequence[Pixels], columns: int, labels: Labels, caption: str) -> Image.Image:
    """Tiles uint8 (height, width, 3) of one shape in rows of `columns`, with their labels, above a caption.

    The last row may be shorter. Labels that are too long are wrapped, then cut with "…". If a label has a line break,
    each of its two lines is cut at the beginning.
    """
    pictures = [_scaled(tile) for tile in tiles]
    width, height = pictures[0].size
    beside = min(MOST_BESIDE, max((text_width(label, LABEL) for label in labels.rows), default=-GAP)) + GAP
    above = line_height(LABEL) * _num_lines(labels.columns, width)
    lines = _num_lines(labels.cells, width) if labels.cell_lines is None else labels.cell_lines
    pitch = height + GAP + line_height(LABEL) * lines
    rows = -(-len(pictures) // columns)
    size = (2 * MARGIN + beside + columns * (width + GAP) - GAP, 2 * MARGIN + above + rows * pitch - GAP)
    sheet = Image.new("RGB", size, PAPER)
    for row, label in enumerate(labels.rows):
        words = wrap(label, LABEL, beside - GAP, MOST_LINES)
        top = MARGIN + above + row * pitch + (height - line_height(LABEL) * len(words)) // 2
        for number, line in enumerate(words):
            draw_text(sheet, (MARGIN, top + number * line_height(LABEL)), line, LABEL)
    for column, label in enumerate(labels.columns):
        _write(sheet, (MARGIN + beside + column * (width + GAP), MARGIN - 4), label, width)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        left, top = MARGIN + beside + column * (width + GAP), MARGIN + above + row * pitch
        sheet.paste(picture, (left, top))
        if place < len(labels.cells):
            _write(sheet, (left, top + height + 2), labels.cells[place], width)
    return with_caption(sheet, caption)


def with_caption(picture: Image.Image, caption: str) -> Image.Image:
    """A picture on paper with a caption below; the paper is wider than a narrow picture."""
    width = max(picture.width, LEAST_CAPTION + 2 * MARGIN)
    lines = wrap(caption, CAPTION, width - 2 * MARGIN, MOST_CAPTION_LINES)
    whole = Image.new("RGB", (width, picture.height + line_height(CAPTION) * len(lines) + MARGIN // 2), PAPER)
    whole.paste(picture, ((width - picture.width) // 2, 0))
    for number, line in enumerate(lines):
        draw_text(whole, (MARGIN, picture.height - MARGIN // 2 + number * line_height(CAPTION)), line, CAPTION)
    return whole


def png_bytes(picture: Image.Image) -> bytes:
    """A picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def gif_bytes(frames: Sequence[Image.Image], *, milliseconds: Sequence[int]) -> bytes:
    """Pictures of one size as an animated GIF in a loop; times are rounded to 10 ms by the format."""
    reduced = [frame.convert("P", palette=Image.Palette.ADAPTIVE, colors=256) for frame in frames]
    buffer = io.BytesIO()
    reduced[0].save(
        buffer, "GIF", save_all=True, append_images=reduced[1:], duration=list(milliseconds), loop=0, disposal=1
    )
    return buffer.getvalue()


def _num_lines(labels: Sequence[str], width: int) -> int:
    """The number of lines of the longest label."""
    return max((len(_lines(label, width)) for label in labels), default=0)


def _lines(label: str, width: int) -> list[str]:
    """A label in lines: with a line break, the end of both lines; else wrapped."""
    first, _, second = label.partition("\n")
    if not second:
        return wrap(first, LABEL, width, MOST_LINES)
    return [shorten(line, LABEL, width, keep_end=True) for line in (first, second)]


def _write(sheet: Image.Image, place: tuple[int, int], label: str, width: int) -> None:
    """A label in the middle of `width`, in up to two lines."""
    for number, line in enumerate(_lines(label, width)):
        colour = INK if number == 0 else QUIET
        draw_text(
            sheet, (place[0] + width // 2, place[1] + number * line_height(LABEL)), line, LABEL, colour, anchor="m"
        )


def _scaled(tile: Pixels) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(tile))
    factor = TILE / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.LANCZOS)
