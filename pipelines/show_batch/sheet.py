"""A contact sheet: cells of a picture and the lines below it, in rows, with a title and a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from .style import INK, MAT, PAPER, QUIET, Colour, pixels
from .text import draw_text, line_height, shorten, text_width, wrap

__all__ = ["Cell", "Legend", "Line", "columns_for", "lay_out"]

MARGIN, GUTTER, ROW_GAP = pixels(28), pixels(18), pixels(20)
TITLE_SIZE, NOTE_SIZE, LEGEND_SIZE = 17.0, 10.5, 10.0
BELOW_PICTURE = pixels(6)
CHIP = pixels(9)

Legend = Sequence[tuple[str, Colour]]
"""Names of classes, each with its colour."""


@dataclass(frozen=True)
class Line:
    """A text below a picture, in up to `most_lines` lines; a key or path that is too long keeps its end."""

    text: str
    size: float = 10.0
    colour: Colour = INK
    most_lines: int = 1
    keep_end: bool = False

    def wrapped(self, width: int) -> list[str]:
        """The lines that fit `width` pixels."""
        if self.most_lines == 1:
            return [shorten(self.text, self.size, width, keep_end=self.keep_end)] if self.text else []
        return wrap(self.text, self.size, width, self.most_lines)


@dataclass(frozen=True)
class Cell:
    """A picture of at most the sheet's cell width, in pixels, and what is written below it, from `indent` on."""

    picture: Image.Image
    lines: Sequence[Line] = ()
    indent: int = 0


def lay_out(
    cells: Sequence[Cell],
    *,
    width: int,
    columns: int,
    title: str,
    note: str = "",
    legend: Legend = (),
) -> Image.Image:
    """The sheet, RGB: `columns` cells of `width` pixels in a row, each as high as the highest picture of the row."""
    columns = max(1, min(columns, len(cells)))
    inner = max(columns * width + (columns - 1) * GUTTER, pixels(220))
    texts = [[(line, line.wrapped(width - cell.indent)) for line in cell.lines] for cell in cells]
    text_heights = [
        sum(len(found) * line_height(line.size) for line, found in one) + (BELOW_PICTURE if one else 0)
        for one in texts
    ]
    rows = [range(start, min(start + columns, len(cells))) for start in range(0, len(cells), columns)]
    heights = [max(cells[number].picture.height for number in row) for row in rows]
    row_heights = [
        height + max(text_heights[number] for number in row) for height, row in zip(heights, rows, strict=True)
    ]
    legend_rows = _legend_rows(legend, inner)
    notes = wrap(note, NOTE_SIZE, inner, 3)
    top = MARGIN + line_height(TITLE_SIZE) + pixels(2) + len(notes) * line_height(NOTE_SIZE) + pixels(14)
    bottom = pixels(20) + len(legend_rows) * pixels(17) if legend_rows else 0
    total = top + sum(row_heights) + (len(rows) - 1) * ROW_GAP + bottom + MARGIN
    sheet = Image.new("RGB", (inner + 2 * MARGIN, total), PAPER)
    _draw_head(sheet, title, notes, inner)
    y = top
    for row, height, row_height in zip(rows, heights, row_heights, strict=True):
        for column, number in enumerate(row):
            place = (MARGIN + column * (width + GUTTER), y)
            _draw_cell(sheet, place, (height, width), cells[number], texts[number])
        y += row_height + ROW_GAP
    _draw_legend(sheet, legend_rows, total - MARGIN - len(legend_rows) * pixels(17))
    return sheet


def columns_for(num: int, most: int) -> int:
    """How many columns suit so many cells: about as many as rows, `most` at most, and no row with one cell alone."""
    if num <= 3:
        return num
    best = min(most, math.ceil(math.sqrt(num)))
    return best + 1 if num % best == 1 and best < most else best


def _draw_head(sheet: Image.Image, title: str, notes: Sequence[str], inner: int) -> None:
    draw_text(sheet, (MARGIN, MARGIN), shorten(title, TITLE_SIZE, inner, keep_end=True), TITLE_SIZE)
    top = MARGIN + line_height(TITLE_SIZE) + pixels(2)
    for number, note in enumerate(notes):
        draw_text(sheet, (MARGIN, top + number * line_height(NOTE_SIZE)), note, NOTE_SIZE, QUIET)


def _draw_cell(
    sheet: Image.Image,
    place: tuple[int, int],
    cell_size: tuple[int, int],
    cell: Cell,
    texts: Sequence[tuple[Line, list[str]]],
) -> None:
    (x, y), (height, width), picture = place, cell_size, cell.picture
    if picture.size != (width, height):
        ImageDraw.Draw(sheet).rectangle((x, y, x + width - 1, y + height - 1), fill=MAT)
    sheet.paste(picture, (x + (width - picture.width) // 2, y + (height - picture.height) // 2))
    y += height + BELOW_PICTURE
    for line, found in texts:
        for text in found:
            draw_text(sheet, (x + cell.indent, y), text, line.size, line.colour)
            y += line_height(line.size)


def _legend_rows(legend: Legend, inner: int) -> list[list[tuple[int, str, Colour]]]:
    """The entries by rows, each with where it begins from the left margin."""
    rows: list[list[tuple[int, str, Colour]]] = []
    x = 0
    for name, colour in legend:
        name = shorten(name, LEGEND_SIZE, inner - CHIP - pixels(6))
        width = CHIP + pixels(5) + text_width(name, LEGEND_SIZE)
        if not rows or x + width > inner:
            rows.append([])
            x = 0
        rows[-1].append((x, name, colour))
        x += width + pixels(16)
    return rows


def _draw_legend(sheet: Image.Image, rows: list[list[tuple[int, str, Colour]]], top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    for row in rows:
        for x, name, colour in row:
            left, up = MARGIN + x, top + (line_height(LEGEND_SIZE) - CHIP) // 2
            draw.rounded_rectangle((left, up, left + CHIP, up + CHIP), pixels(2), fill=colour)
            draw_text(sheet, (left + CHIP + pixels(5), top), name, LEGEND_SIZE)
        top += pixels(17)
