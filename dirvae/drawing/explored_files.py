"""Files of explorations: sheets as PNG, paths and clips as GIF, sounds as WAV, charts as PNG and SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from dirvae.drawing.charts import chart_picture
from dirvae.drawing.labelled_sheet import Labels, draw_labelled_sheet, gif_bytes, png_bytes, with_caption
from dirvae.drawing.media import Media
from dirvae.drawing.thumbnails import sound_picture
from pipelines.decode.audio.wav_writing import encode_wav
from pipelines.show_batch.style import PAPER

__all__ = [
    "ShownSheet",
    "chart_png",
    "chart_svg",
    "joined_sound",
    "milliseconds_of_frame",
    "sheet_gif",
    "sheet_png",
    "sheet_wav",
]

Pixels = NDArray[np.uint8]

GAP_SECONDS = 0.15
"""Silence between the sounds of a row; between rows it is three times as long."""
STEP_MILLISECONDS, REST_MILLISECONDS = 120, 600
"""How long a step of a path is shown, and each of its ends."""
SOUND_TILE = (96, 128)
"""Height and width of the spectrogram that stands for a sound."""
MOST_SIDE_BY_SIDE = 8
FRAME = 28
"""Pixels around a chart."""


class ShownSheet(Protocol):
    """The parts of a `dirvae.explore.Sheet` that are drawn."""

    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def row_labels(self) -> tuple[str, ...]: ...
    @property
    def column_labels(self) -> tuple[str, ...]: ...
    @property
    def cell_labels(self) -> tuple[str, ...]: ...
    @property
    def caption(self) -> str: ...
    @property
    def is_path(self) -> bool: ...


def sheet_png(sheet: ShownSheet, cells: Sequence[Media]) -> bytes:
    """A sheet, one item of media per cell: pictures, the middle frames of clips, or spectrograms of sounds."""
    labels = Labels(rows=sheet.row_labels, columns=sheet.column_labels, cells=sheet.cell_labels)
    return png_bytes(draw_labelled_sheet([_still(cell) for cell in cells], sheet.columns, labels, sheet.caption))


def sheet_gif(sheet: ShownSheet, cells: Sequence[Media]) -> bytes:
    """Clips that move in step; or paths of pictures, each row moving from its first cell to its last and back.

    Raises `ValueError` for sounds, and for pictures that are not on a path.
    """
    if cells[0].kind == "video":
        return _moving_clips(sheet, cells)
    if cells[0].kind != "image" or not sheet.is_path:
        raise ValueError("only clips and paths of pictures can be animated")
    columns, rows = sheet.columns, sheet.rows
    names = sheet.row_labels or ("",) * rows
    frames = []
    for step in range(columns):
        tiles = [_still(cells[row * columns + step]) for row in range(rows)]
        shown = [f"{names[row]} {_label_of(sheet, row, step)}".strip() for row in range(rows)]
        labels = Labels(cells=shown, cell_lines=2)
        frames.append(draw_labelled_sheet(tiles, min(rows, MOST_SIDE_BY_SIDE), labels, sheet.caption))
    times = [REST_MILLISECONDS, *[STEP_MILLISECONDS] * (columns - 2), REST_MILLISECONDS]
    return gif_bytes([*frames, *frames[-2:0:-1]], milliseconds=[*times, *times[-2:0:-1]])


def sheet_wav(sheet: ShownSheet, cells: Sequence[Media]) -> bytes:
    """The sounds of a sheet one after the other, row by row, as WAV of 16 bits. Raises `ValueError` for pictures."""
    if cells[0].kind != "audio":
        raise ValueError("only sounds can be written as WAV")
    sounds = [cell.values[0].astype(np.float32) for cell in cells]
    rate = cells[0].sample_rate
    assert rate is not None
    return encode_wav(joined_sound(sounds, rate, columns=sheet.columns)[:, None], rate, "s16")


def joined_sound(sounds: Sequence[NDArray[np.float32]], sample_rate: int, *, columns: int) -> NDArray[np.float32]:
    """Sounds (sample,) one after the other, (sample,), with 0.15 s of silence between two and 0.45 s after each row of
    `columns`. If a sound is louder than full scale, all become quieter by the same factor.
    """
    gap = np.zeros(round(GAP_SECONDS * sample_rate), np.float32)
    parts: list[NDArray[np.float32]] = []
    for place, sound in enumerate(sounds):
        if place:
            parts += [gap] * (3 if place % columns == 0 else 1)
        parts.append(np.nan_to_num(sound))
    whole = np.concatenate(parts)
    peak = float(np.abs(whole).max(initial=0.0))
    return whole / peak if peak > 1 else whole


def chart_png(draw: Callable[[Any], None], caption: str, *, inches: tuple[float, float]) -> bytes:
    """A chart that `draw` draws on matplotlib axes, above its caption, as a PNG file."""
    framed = ImageOps.expand(chart_picture(draw, inches=inches), border=FRAME, fill=PAPER)
    return png_bytes(with_caption(framed, caption))


def chart_svg(svg: str, caption: str) -> bytes:
    """An `<svg>` element as a file, with its caption as the title."""
    start = svg.index(">") + 1
    return f"{svg[:start]}<title>{escape(caption)}</title>{svg[start:]}\n".encode()


def milliseconds_of_frame(clip: Media) -> int:
    """How long a frame of a clip is shown in a GIF: 20 to 500 ms, because programs play no shorter frames."""
    assert clip.frames_per_second is not None
    return round(float(np.clip(1000 / clip.frames_per_second, 20, 500)))


def _moving_clips(sheet: ShownSheet, cells: Sequence[Media]) -> bytes:
    labels = Labels(rows=sheet.row_labels, columns=sheet.column_labels, cells=sheet.cell_labels)
    clips = [cell.values[0] for cell in cells]
    frames = [
        draw_labelled_sheet([clip[time] for clip in clips], sheet.columns, labels, sheet.caption)
        for time in range(len(clips[0]))
    ]
    milliseconds = milliseconds_of_frame(cells[0])
    return gif_bytes(frames, milliseconds=[*[milliseconds] * (len(frames) - 1), milliseconds + REST_MILLISECONDS])


def _label_of(sheet: ShownSheet, row: int, column: int) -> str:
    if sheet.cell_labels:
        return sheet.cell_labels[row * sheet.columns + column]
    return sheet.column_labels[column] if sheet.column_labels else ""


def _still(media: Media) -> Pixels:
    """The picture of an item on a sheet: itself, the middle frame of a clip, the spectrogram of a sound."""
    if media.kind == "audio":
        assert media.sample_rate is not None
        return sound_picture(media.values[0].astype(np.float32), media.sample_rate, size=SOUND_TILE)
    still: Pixels = media.values[0] if media.kind == "image" else media.values[0][media.values.shape[1] // 2]
    return still
