"""Clips of videos as film strips: frames evenly spaced over the clip, with their times."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..iterators.video import VideoIterator
from ..sources.source import Source
from .image_cells import framed
from .members import chosen_members, lines_of
from .sheet import Cell
from .showing import CellSet, ShowOptions, first_batch
from .style import PAPER, QUIET, pixels
from .text import draw_text, line_height

__all__ = ["shown_frames", "video_cells"]

NUM, SIZE, MOST_FRAMES = 6, 128, 8
GAP = pixels(3)
TIME_SIZE = 8.5


def video_cells(source: Source, options: ShowOptions) -> CellSet:
    """The clips of one batch. Raises as `draw_batch` does."""
    side = pixels(options.size or SIZE)
    chosen = chosen_members(source, options.fields)
    make = partial(
        VideoIterator, clip_frames=options.clip_frames, size=side, fields=chosen.to_read, **options.framing
    )
    batch = first_batch(make, source, options, options.num or NUM)
    drawn = chosen.drawn(batch, source)
    num_columns = min(MOST_FRAMES, options.clip_frames)
    width = num_columns * side + (num_columns - 1) * GAP
    cells = []
    for number in range(len(batch)):
        length = options.clip_frames if batch.lengths is None else int(batch.lengths[number])
        shown = shown_frames(length, num_columns)
        assert batch.transform is not None
        frames = [
            framed(batch.data[number][:, frame], batch.transform[number], is_padded=options.filling == "pad")[0]
            for frame in shown.tolist()
        ]
        seconds = batch.fields["pts_seconds"][number][shown]
        details = f"{length} frames" + (f", {len(shown)} of them here" if len(shown) < length else "")
        lines = lines_of(batch, number, chosen.members, caption="captions" in drawn, details=details)
        cells.append(Cell(_strip(frames, seconds.tolist(), (side, width)), lines))
    note = f"{len(batch):,} clips of {len(source):,} videos, {options.described()}"
    return CellSet(cells, width, 1, note)


def shown_frames(length: int, most: int) -> NDArray[np.int64]:
    """The numbers of up to `most` frames of a clip, evenly spaced, its first and last one among them."""
    return np.unique(np.rint(np.linspace(0, length - 1, min(most, length))).astype(np.int64))


def _strip(frames: list[Image.Image], seconds: list[float], size: tuple[int, int]) -> Image.Image:
    """Frames side by side, the time of each below it; `size` is (a frame's width, the strip's width) in pixels."""
    side, width = size
    height = max(frame.height for frame in frames)
    strip = Image.new("RGB", (width, height + line_height(TIME_SIZE) + pixels(2)), PAPER)
    for column, (frame, time) in enumerate(zip(frames, seconds, strict=True)):
        left = column * (side + GAP)
        strip.paste(frame, (left + (side - frame.width) // 2, (height - frame.height) // 2))
        place = (left + side // 2, height + pixels(2))
        draw_text(strip, place, f"{time:.2f} s", TIME_SIZE, QUIET, anchor="m")
    return strip
