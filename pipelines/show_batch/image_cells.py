"""Pictures of a batch with their objects and captions, as cells of a sheet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..boxes import is_record
from ..iterators.image import ImageIterator
from ..sources.source import Source
from .annotation_shapes import Shapes, shapes_of
from .drawing_objects import draw_shapes
from .members import chosen_members, lines_of
from .sheet import Cell, Legend
from .showing import CellSet, ShowOptions, first_batch
from .style import class_colour, pixels

__all__ = ["framed", "image_cells"]

NUM, SIZE, MOST_COLUMNS = 16, 256, 6
MOST_IN_LEGEND = 24

Matrix = NDArray[np.floating[Any]]


def image_cells(source: Source, options: ShowOptions) -> CellSet:
    """The pictures of one batch. Raises as `draw_batch` does."""
    side = pixels(options.size or SIZE)
    chosen = chosen_members(source, options.fields)
    make = partial(ImageIterator, size=side, fields=chosen.to_read, **options.framing)
    batch = first_batch(make, source, options, options.num or NUM)
    drawn = chosen.drawn(batch, source, is_as_stored=options.shuffle is None)
    cells, found = [], list[Shapes]()
    for number in range(len(batch)):
        assert batch.transform is not None
        picture, matrix = framed(batch.data[number], batch.transform[number], is_padded=options.filling == "pad")
        if drawn and is_record(record := batch.fields["json"][number]):
            found.append(_shapes(source, batch.keys[number], record, matrix, picture, drawn))
            draw_shapes(picture, found[-1], drawn)
        cells.append(Cell(picture, lines_of(batch, number, chosen.members, caption="captions" in drawn)))
    note = f"{len(batch):,} of {len(source):,} images, {options.described()}"
    is_labelled = "boxes" in drawn or "masks" in drawn
    return CellSet(cells, side, MOST_COLUMNS, note, _legend(found) if is_labelled else ())


def _shapes(
    source: Source, key: str, record: Any, matrix: Matrix, picture: Image.Image, drawn: Sequence[str]
) -> Shapes:
    try:
        return shapes_of(record, matrix, (picture.height, picture.width), with_masks="masks" in drawn)
    except ValueError as error:
        raise ValueError(f"{source.shown_name}: the annotations of {key!r} are damaged ({error}).") from error


def framed(values: NDArray[np.uint8], matrix: Matrix, *, is_padded: bool) -> tuple[Image.Image, Matrix]:
    """(3, height, width) as a picture without the bars that fit="pad" put beside it, and the matrix (2, 3) to it."""
    rows = values.transpose(1, 2, 0)
    left, top, right, bottom = _inner_box(rows, matrix) if is_padded else (0, 0, rows.shape[1], rows.shape[0])
    moved = matrix.astype(np.float64)
    moved[:, 2] -= left, top
    return Image.fromarray(np.ascontiguousarray(rows[top:bottom, left:right])), moved


def _inner_box(rows: NDArray[np.uint8], matrix: Matrix) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the picture in (height, width, 3) with bars. The second of two bars may be
    one pixel wider; that pixel is black."""
    edges = []
    for axis, length in ((0, rows.shape[1]), (1, rows.shape[0])):
        shift = float(matrix[axis, 2])
        is_mirrored = matrix[axis, axis] < 0
        bar = max(0, min(round(length - shift if is_mirrored else shift), (length - 1) // 2))
        lines = rows.swapaxes(0, 1) if axis == 0 else rows
        if is_mirrored:
            first, last = bar - 1 if bar and lines[bar - 1].any() else bar, length - bar
        else:
            first, last = bar, length - bar - 1 if not lines[length - bar - 1].any() else length - bar
        edges.append((first, last))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def _legend(shapes: Sequence[Shapes]) -> Legend:
    """The classes that occur with their counts, the most frequent first."""
    counts: Counter[tuple[int, str]] = Counter()
    for one in shapes:
        counts.update((int(one.classes[number]), one.names[number]) for number in np.flatnonzero(one.visible > 0))
    return [
        (f"{name or 'unknown'}  {count:,}", class_colour(number))
        for (number, name), count in counts.most_common(MOST_IN_LEGEND)
    ]
