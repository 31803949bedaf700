"""Harmonics and filtered noise of a few hundred samples at a time, with few and small operations.

The same sums as in `harmonic_bank` and `filtered_noise`, arranged for playing, where the time goes into calling
operations and not into arithmetic. All tables are made once, rows are not laid out in segments, and the frames of
noise are added up before the one inverse transform. `tests/dirvae/test_ddsp_stream.py` compares both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from dirvae.ddsp.fft_lengths import fast_length
from dirvae.ddsp.harmonic_sum import accumulate_phase, factor_harmonics, shorten_phases
from dirvae.ddsp.noise import draw_uniform, filter_responses

__all__ = ["LONGEST", "PlayedRows", "ShortBlocks"]

LONGEST = 512
"""Samples of a block at most: the work of a block grows with its samples times its rows."""


@dataclass(frozen=True, eq=False)
class PlayedRows:
    """Rows `first` and later, as `ShortBlocks.prepare` makes them; rows outside are as the nearest one.

    f0_hz       (batch, row) float64
    matrices    (batch, row, Q · R), amplitudes of the harmonics, with zeros behind them
    magnitudes  (batch, row, band)
    """

    first: int
    f0_hz: Tensor
    matrices: Tensor
    magnitudes: Tensor

    def between(self, rows: range) -> PlayedRows:
        """These rows."""
        start, stop, num_rows = rows.start - self.first, rows.stop - self.first, self.f0_hz.shape[1]
        part: slice | list[int] = slice(start, stop)
        if start < 0 or stop > num_rows:
            part = [min(max(row, 0), num_rows - 1) for row in range(start, stop)]
        return PlayedRows(rows.start, self.f0_hz[:, part], self.matrices[:, part], self.magnitudes[:, part])


@dataclass(frozen=True, eq=False)
class _Places:
    """Where samples stand among rows `first` and later.

    segments   (time,) int64: the row at or before each sample, counted from `first`
    fractions  (time,) float64 in [0, 1): from there to the next row
    windows    (row, time) float32: the Hann window of two hops on each row
    """

    first: int
    segments: Tensor
    fractions: Tensor
    windows: Tensor

    def inner(self, samples: slice, rows: range) -> _Places:
        """Some of the samples, all of which stand between these rows."""
        skipped = rows.start - self.first
        windows = self.windows[skipped : skipped + len(rows), samples]
        return _Places(rows.start, self.segments[samples] - skipped, self.fractions[samples], windows)

    @property
    def rows(self) -> range:
        """The rows that sound."""
        return range(self.first, self.first + len(self.windows))


class ShortBlocks:
    """What plays the blocks of one synthesiser, in float32 and without gradients.

    sample_rate, rate  samples and rows per second
    num_harmonics      of the distribution
    bands              (band, bin), from `filter_bands`
    """

    def __init__(self, sample_rate: Fraction, rate: Fraction, num_harmonics: int, bands: Tensor) -> None:
        device = bands.device
        self.step, self.nyquist = rate / sample_rate, float(sample_rate / 2)
        self.seconds = float(1 / sample_rate)
        self.reach = bands.shape[1] - 1
        self.widths = [1, 1, num_harmonics, len(bands)]
        self.size = fast_length(LONGEST + 2 * self.reach)
        self.responses = filter_responses(bands, self.size).float()
        self.inner, self.outer = factor_harmonics(num_harmonics)
        self.padding = self.inner * self.outer - num_harmonics
        low, high = range(1, self.inner + 1), range(0, self.inner * self.outer, self.inner)
        self.multiples = torch.tensor([*low, *high], dtype=torch.int32, device=device)[:, None]
        self.numbers = torch.arange(1, num_harmonics + 1, dtype=torch.float64, device=device)
        longest = LONGEST + 2 * self.reach
        self.steps = torch.arange(longest, dtype=torch.int64, device=device) * self.step.numerator
        most_rows = math.ceil(longest * self.step) + 2
        self.row_numbers = torch.arange(most_rows, dtype=torch.float64, device=device)[:, None]

    def prepare(self, values: Tensor, first: int) -> PlayedRows:
        """Rows `first` and later of the controls: (batch, row, channel), of the widths f0, amplitude, harmonics, bands.

        Harmonics that would reach half the sample rate are left out as in `harmonic_amplitudes`; the first row and the
        last one are compared with one neighbour only.
        """
        f0, amplitude, shares, magnitudes = torch.split(values, self.widths, 2)
        ends = torch.cat((f0[:, :1], f0, f0[:, -1:]), 1)[:, :, 0].abs()
        highest = ends.unfold(1, 3, 1).amax(2, keepdim=True)
        shares = shares * (highest.double() * self.numbers < self.nyquist)
        total = shares.sum(2, keepdim=True)
        shares = shares.mul_(amplitude / torch.where(total > 0, total, 1))
        return PlayedRows(first, f0[:, :, 0].double(), F.pad(shares, (0, self.padding)), magnitudes)

    def play(self, rows: PlayedRows, samples: range, phase: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Harmonics + noise of samples `LONGEST` at most, (batch, time), and the phase after them.

        rows   from `prepare`, with all that these samples depend on
        phase  (batch,) int64, turns · 2^64, of the first sample
        seeds  (batch,) int64, of the noise
        """
        reach = self.reach
        heard = range(samples.start - reach, samples.stop + reach)
        places = self._places(heard)
        noise = draw_uniform(seeds, heard.start, len(heard))
        noise = self._filtered(noise, rows.between(places.rows).magnitudes, places.windows)
        inside = slice(reach, reach + len(samples))
        places = places.inner(inside, self._rows_around(samples))
        harmonics, phase = self._harmonics(rows.between(places.rows), places, phase)
        return harmonics.add_(noise[:, inside]), phase

    def _rows_around(self, samples: range) -> range:
        """The row at or before each of these samples, and the next one."""
        step, unit = self.step.numerator, self.step.denominator
        return range(samples.start * step // unit, (samples.stop - 1) * step // unit + 2)

    def _places(self, samples: range) -> _Places:
        rows, unit = self._rows_around(samples), self.step.denominator
        places = self.steps[: len(samples)] + (samples.start * self.step.numerator - rows.start * unit)
        segments = places.div(unit, rounding_mode="floor")
        fractions = (places - segments * unit).double().div_(unit)
        distances = (segments + fractions - self.row_numbers[: len(rows)]).abs_().clamp_(max=1)
        windows = distances.float().mul_(math.pi).cos_().add_(1).div_(2)
        return _Places(rows.start, segments, fractions, windows)

    def _filtered(self, noise: Tensor, magnitudes: Tensor, windows: Tensor) -> Tensor:
        """Noise (batch, time) under the window of each row, filtered: right but for `reach` samples at both ends."""
        spectra = torch.fft.rfft(noise[:, None] * windows, self.size)
        made: Tensor = torch.fft.irfft(spectra.mul_(magnitudes @ self.responses).sum(1), self.size)
        return made

    def _harmonics(self, rows: PlayedRows, places: _Places, phase: Tensor) -> tuple[Tensor, Tensor]:
        """Harmonics (batch, time), and the phase after them."""
        segments = places.segments
        before, behind = rows.f0_hz.index_select(1, segments), rows.f0_hz[:, 1:].index_select(1, segments)
        phases, phase = accumulate_phase(torch.lerp(before, behind, places.fractions) * self.seconds, phase)
        angles = (shorten_phases(phases, torch.float32)[:, None] * self.multiples).float().mul_(2 * math.pi / 2**32)
        return self._sum(rows.matrices, angles.cos(), angles.sin_(), places.windows), phase

    def _sum(self, matrices: Tensor, cos: Tensor, sin: Tensor, windows: Tensor) -> Tensor:
        """Σ a sin(jφ) by angle addition, see `dirvae.ddsp.harmonic_sum`; the rows under their windows, added up."""
        shape = (*matrices.shape[:2], self.outer, -1)
        matrices = matrices.reshape(len(matrices), -1, self.inner)
        by_cos = torch.bmm(matrices, cos[:, : self.inner]).view(shape)
        by_sin = torch.bmm(matrices, sin[:, : self.inner]).view(shape)
        cos, sin = cos[:, None, self.inner :], sin[:, None, self.inner :]
        return by_cos.mul_(sin).addcmul_(by_sin, cos).sum(2).mul_(windows).sum(1)
