"""Spectrograms on the mel scale: levels in dB, pictures of them, and charts with axes in Hz and seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dirvae.ddsp.fft_lengths import fast_length
from dirvae.ddsp.frames import Framing, framed_fft, power_of
from dirvae.ddsp.mel import hz_to_mel, mel_filterbank
from dirvae.drawing.charts import draw_chart, time_axis

__all__ = ["COLOUR_MAP", "RANGE_DB", "draw_spectrogram", "mel_levels", "scale_colours", "spectrogram_pixels"]

RANGE_DB = 80.0
"""Levels are shown down to this far below the loudest point."""
NUM_MELS = 112
TICK_ROWS = 8
"""Rows between two ticks, at least, so that their labels do not touch."""
LOWEST_HZ = 40.0
FRAME_SECONDS = Fraction(64, 1000)
FRAMES_PER_SECOND = 100
LEAST_POWER = 1e-12
COLOUR_MAP = "magma"
TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000, 16_000)


def mel_levels(sounds: Sequence[Tensor], sample_rate: Fraction) -> list[Tensor]:
    """Levels of sounds (time,): (mel, frame) each, in dB from -80 to 0, below the loudest point of all of them."""
    levels = [_levels(sound, sample_rate) for sound in sounds]
    loudest = max(float(level.max()) for level in levels)
    return [(level - loudest).clamp(-RANGE_DB, 0) for level in levels]


def spectrogram_pixels(levels: Tensor) -> NDArray[np.uint8]:
    """Levels (mel, frame) in dB from -80 to 0 as a picture (mel, frame, 3), the lowest frequency at the bottom."""
    from matplotlib import colormaps

    shares = 1 + levels.flip(0).numpy() / RANGE_DB
    return np.ascontiguousarray(colormaps[COLOUR_MAP](shares, bytes=True)[..., :3])


def draw_spectrogram(name: str, levels: Tensor, sample_rate: Fraction) -> str:
    """Levels (mel, frame) as an `<svg>` element with axes in Hz and seconds."""
    num_mels, num_frames = levels.shape
    ticks = _ticks(sample_rate)

    def draw(axes: Any) -> None:
        axes.imshow(
            levels.numpy(),
            origin="lower",
            extent=(0, num_frames / FRAMES_PER_SECOND, 0, num_mels),
            aspect="auto",
            interpolation="none",
            cmap=COLOUR_MAP,
            vmin=-RANGE_DB,
            vmax=0,
        )
        axes.set_yticks([place for _, place in ticks], [_short(hz) for hz, _ in ticks])
        axes.set_ylabel("Hz")
        time_axis(axes, num_frames / FRAMES_PER_SECOND)

    return draw_chart(name, draw, inches=(5.0, 2.4), place=(0.115, 0.18, 0.865, 0.78), has_grid=False)


def scale_colours(num: int = 9) -> list[str]:
    """Colours of `num` levels, from the lowest to the highest, as "#rrggbb"."""
    from matplotlib import colormaps

    colours = colormaps[COLOUR_MAP](np.linspace(0, 1, num), bytes=True)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue, _ in colours.tolist()]


def _levels(sound: Tensor, sample_rate: Fraction) -> Tensor:
    length = fast_length(round(FRAME_SECONDS * sample_rate))
    framing = Framing(length, Fraction(FRAMES_PER_SECOND), sample_rate)
    filters = mel_filterbank(float(sample_rate), length, NUM_MELS, lowest_hz=LOWEST_HZ, norm=None)
    signal = sound.detach().float().cpu().nan_to_num(0.0, 0.0, 0.0)[None]
    power = power_of(framed_fft(signal, framing))[0]
    return _filled_ends(10 * torch.log10(power @ filters.float().T + LEAST_POWER).T)


def _filled_ends(levels: Tensor) -> Tensor:
    """Frames that reach beyond an end, where a cut tone clicks, are replaced by the nearest whole frame."""
    beyond = math.ceil(FRAME_SECONDS * FRAMES_PER_SECOND / 2)
    if levels.shape[1] <= 2 * beyond:
        return levels
    return F.pad(levels[:, beyond:-beyond], (beyond, beyond), mode="replicate")


def _mel_row(hz: float, sample_rate: Fraction) -> float:
    """The place of a frequency on an axis whose row k is centred at k + 1/2."""
    lowest, highest, mel = hz_to_mel(torch.tensor([LOWEST_HZ, float(sample_rate) / 2, hz])).tolist()
    row: float = (mel - lowest) / (highest - lowest) * (NUM_MELS + 1) - 0.5
    return row


def _ticks(sample_rate: Fraction) -> list[tuple[int, float]]:
    """Frequencies and their places, from the highest down, at least `TICK_ROWS` apart."""
    found: list[tuple[int, float]] = []
    above = float(NUM_MELS)
    for hz in reversed(TICKS_HZ):
        place = _mel_row(hz, sample_rate)
        if place <= above - (TICK_ROWS if found else 0):
            found.append((hz, place))
            above = place
    return found


def _short(hz: int) -> str:
    return str(hz) if hz < 1000 else f"{hz // 1000}k"
