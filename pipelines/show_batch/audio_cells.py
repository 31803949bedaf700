"""Stretches of recordings as a waveform above a spectrogram, with seconds and kHz."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..iterators.audio import AudioIterator, first_sample_rate
from ..sources.clips import Clip, ClipSource
from ..sources.source import Source
from .members import chosen_members, lines_of
from .sheet import Cell
from .showing import CellSet, ShowOptions, first_batch
from .spectrogram import coloured, frequency_ticks, spectrogram
from .style import ACCENT, FAINT, MAT, PAPER, QUIET, pixels
from .text import draw_text, line_height, text_width

__all__ = ["audio_cells", "nice_step"]

NUM, SIZE, MOST_COLUMNS = 8, 420, 2
TICK_SIZE = 8.0
LEFT, BOTTOM, GAP = pixels(22), pixels(15), pixels(3)
LEAST_TICK_GAP = pixels(38)


@dataclass(frozen=True)
class Stretch:
    """Mono samples (time,) of a recording of `whole_seconds`, from `start_seconds` on; padding from `length` on."""

    samples: NDArray[np.float32]
    sample_rate: float
    start_seconds: float
    length: int
    whole_seconds: float

    def cut(self, seconds: float) -> Stretch:
        """Its first seconds: recordings of a lower rate have more in a window than the others."""
        num = max(1, round(seconds * self.sample_rate))
        return replace(self, samples=self.samples[:num], length=min(self.length, num))

    def described(self) -> str:
        """Its length and rate in words."""
        seconds = self.length / self.sample_rate
        return f"{seconds:.2f} s of {self.whole_seconds:.2f} s at {self.sample_rate / 1000:g} kHz"


def audio_cells(source: Source, options: ShowOptions) -> CellSet:
    """The recordings of one batch. Raises as `draw_batch` does."""
    rate = first_sample_rate(source)
    chosen = chosen_members(source, options.fields)
    window = max(64, round(options.window * rate))
    made: list[AudioIterator] = []

    def make(opened: Source, **settings: object) -> AudioIterator:
        made.append(AudioIterator(opened, window=window, fields=chosen.to_read, **settings))  # type: ignore[arg-type]
        return made[-1]

    batch = first_batch(make, source, options, options.num or NUM)
    drawn = chosen.drawn(batch, source)
    width, clips = pixels(options.size or SIZE), made[0].source
    assert isinstance(clips, ClipSource)
    stretches = []
    for number, clip in enumerate(clips.read(batch.indices.tolist())):
        assert isinstance(clip, Clip)
        own_rate = float(clip.record.rate or rate)
        length = window if batch.lengths is None else int(batch.lengths[number])
        begin = int(batch.keys[number].rpartition("@")[2])
        whole = clip.record.frames / own_rate
        stretches.append(Stretch(batch.data[number].mean(0), own_rate, begin / own_rate, length, whole))
    clips.close()
    shown_seconds = min(options.window, max(one.length / one.sample_rate for one in stretches))
    cells = []
    for number, stretch in enumerate(one.cut(shown_seconds) for one in stretches):
        lines = lines_of(batch, number, chosen.members, caption="captions" in drawn, details=stretch.described())
        cells.append(Cell(draw_stretch(stretch, width), lines, indent=LEFT))
    note = (
        f"{len(batch):,} of {len(clips):,} windows of {options.window:g} s, {options.described()}; "
        "colours span the 80 dB below the loudest"
    )
    return CellSet(cells, width, MOST_COLUMNS, note)


def draw_stretch(stretch: Stretch, width: int) -> Image.Image:
    """Waveform, spectrogram and axes: RGB, `width` pixels wide."""
    inner, wave, tall = width - LEFT, round(width * 0.13), round(width * 0.31)
    picture = Image.new("RGB", (width, wave + GAP + tall + BOTTOM), PAPER)
    picture.paste(_waveform(stretch, (wave, inner)), (LEFT, 0))
    levels = spectrogram(stretch.samples, stretch.sample_rate, (tall, inner))
    picture.paste(Image.fromarray(coloured(levels)), (LEFT, wave + GAP))
    draw = ImageDraw.Draw(picture)
    real = LEFT + round(inner * stretch.length / len(stretch.samples))
    if real < width:
        draw.rectangle((real, wave + GAP, width - 1, wave + GAP + tall - 1), fill=MAT)
    half = line_height(TICK_SIZE) // 2
    for share, label in frequency_ticks(stretch.sample_rate / 2, line_height(TICK_SIZE) * 1.2 / tall):
        y = wave + GAP + round(tall * (1 - share))
        draw.line((LEFT - pixels(2), y, LEFT - 1, y), fill=QUIET)
        draw_text(picture, (LEFT - pixels(4), y - half), label, TICK_SIZE, QUIET, anchor="r")
    draw_text(picture, (LEFT - pixels(4), wave + GAP + tall + pixels(3)), "kHz", TICK_SIZE, QUIET, anchor="r")
    _draw_seconds(picture, stretch, inner, wave + GAP + tall)
    return picture


def _waveform(stretch: Stretch, size: tuple[int, int]) -> Image.Image:
    """A line per column from its smallest to its largest sample; full scale is the height."""
    height, width = size
    picture = Image.new("RGB", (width, height), MAT)
    draw = ImageDraw.Draw(picture)
    middle = (height - 1) / 2
    draw.line((0, round(middle), width, round(middle)), fill=FAINT)
    edges = np.linspace(0, len(stretch.samples), width + 1).astype(np.int64)
    for column in range(width):
        part = stretch.samples[edges[column] : max(edges[column + 1], edges[column] + 1)]
        if edges[column] < stretch.length and len(part):
            low, high = (middle * (1 - float(np.clip(value, -1, 1))) for value in (part.max(), part.min()))
            draw.line((column, round(low), column, round(high)), fill=ACCENT)
    return picture


def _draw_seconds(picture: Image.Image, stretch: Stretch, inner: int, top: int) -> None:
    draw = ImageDraw.Draw(picture)
    seconds = len(stretch.samples) / stretch.sample_rate
    step = nice_step(seconds * LEAST_TICK_GAP / inner)
    first = int(np.ceil(stretch.start_seconds / step - 1e-9))
    last = int(np.floor((stretch.start_seconds + seconds) / step + 1e-9))
    for number in range(first, last + 1):
        x = LEFT + round(inner * (number * step - stretch.start_seconds) / seconds)
        label = f"{number * step:g}" + (" s" if number == last else "")
        draw.line((min(x, picture.width - 1), top, min(x, picture.width - 1), top + pixels(2)), fill=QUIET)
        half = text_width(label, TICK_SIZE) // 2
        x = max(LEFT, min(x - half, picture.width - 2 * half - 1))
        draw_text(picture, (x, top + pixels(3)), label, TICK_SIZE, QUIET)


def nice_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below `least`."""
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9)))
