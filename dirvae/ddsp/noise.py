"""Filtered noise: white noise through a filter that changes with time (Engel et al. 2020, arXiv 2001.04643).

The noise is a function of a seed and the number of the sample, so that blocks of any length are pieces of the whole.
"""

from __future__ import annotations

from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from dirvae.ddsp.block import Block, RowPositions
from dirvae.ddsp.curve import Curve, at_least_single, check_tensor, exact_rate
from dirvae.ddsp.envelopes import hann_rise
from dirvae.ddsp.fft_lengths import fast_length
from dirvae.ddsp.frames import overlap_add, overlap_add_evenly, stretch
from dirvae.float64 import KeepsFloat64, narrow, wide, wide_device
from dirvae.splitmix import mixed, numbered_words, shifted_right

__all__ = ["FilteredNoise", "draw_uniform", "filter_bands", "filter_responses", "filtered_noise", "uniform_noise"]

MANTISSA_BITS = 23
MOST_BINS = 1 << 17
"""Between 0 Hz and half the sample rate, for centres that are given: a filter of several seconds."""
LARGEST_GROUP = 8
"""Rows that are added up in steps of their distance; 5 at 44,100 samples and 250 rows per second."""


def uniform_noise(seeds: Tensor, block: Block) -> Tensor:
    """White noise, uniform in (-1, 1), of a block: seeds (batch,) int64 → (batch, time) float32.

    Sample n is number n of the SplitMix64 sequence (Steele et al. 2014) that begins at the mixed seed, by its upper
    23 bits; n may be below 0. Its mean is 0, its power 1/3. Raises `ValueError` for seeds of another dtype or shape.
    """
    check_tensor(seeds, "seeds")
    if seeds.dtype != torch.int64 or seeds.ndim != 1:
        raise ValueError(f"seeds is {seeds.dtype} of shape {tuple(seeds.shape)}; give one int64 per example.")
    noise: Tensor = _uniform_noise(seeds, block.first_sample, block.num_samples)
    return noise


@torch.library.custom_op("dirvae::uniform_noise", mutates_args=())
def _uniform_noise(seeds: Tensor, first_sample: int, num_samples: int) -> Tensor:
    """An operator of its own: a compiler may assume that whole numbers do not wrap around, as these do."""
    return draw_uniform(seeds, first_sample, num_samples)


def draw_uniform(seeds: Tensor, first_sample: int, num_samples: int) -> Tensor:
    """`uniform_noise` without checks and without the cost of calling an operator: not for compiled code."""
    words = numbered_words(mixed(seeds), first_sample, num_samples)
    top = shifted_right(words, 64 - MANTISSA_BITS)
    return (top.float() + 0.5).mul_(2.0 ** (1 - MANTISSA_BITS)).sub_(1)


@_uniform_noise.register_fake
def _(seeds: Tensor, first_sample: int, num_samples: int) -> Tensor:
    return seeds.new_empty((seeds.shape[0], num_samples), dtype=torch.float32)


def filter_bands(
    num_bands: int, *, centres_hz: Tensor | None = None, sample_rate: Fraction | float = 1, num_bins: int = 0
) -> Tensor:
    """How bands make a filter's frequency response: straight lines between their centres, (band, bin) float64.

    centres_hz   (band,) rising; by default evenly spaced from 0 Hz to half of `sample_rate`, both included. Below the
                 first and above the last the response is level
    num_bins     bins from 0 Hz to half the sample rate; by default so many that two fit between neighbouring centres

    Raises `ValueError` for fewer than 2 bands, and for centres that do not rise or need more than 131,073 bins.
    """
    if num_bands < 2:
        raise ValueError(f"num_bands is {num_bands}; a filter has 2 bands or more.")
    if centres_hz is None:
        num_bins = num_bins or 2 * num_bands - 1
        places = torch.linspace(0, num_bands - 1, num_bins, dtype=torch.float64)
        return (1 - (places - torch.arange(num_bands)[:, None]).abs()).clamp(min=0)
    nyquist = float(sample_rate) / 2
    centres = centres_hz.double()
    if centres.shape != (num_bands,) or not (centres.isfinite().all() and (centres[1:] > centres[:-1]).all()):
        raise ValueError(f"centres_hz is {centres_hz.tolist()}; {num_bands} rising frequencies are needed.")
    if num_bins == 0:
        closest = float((centres[1:] - centres[:-1]).min())
        if 2 * nyquist > MOST_BINS * closest:
            raise ValueError(
                f"centres_hz has neighbours {closest:g} Hz apart; at {sample_rate} samples per second such a filter "
                f"has more than {MOST_BINS:,} taps: move them {2 * nyquist / MOST_BINS:.3g} Hz or more apart."
            )
        num_bins = fast_length(round(2 * nyquist / closest + 0.499)) + 1
    bins = torch.linspace(0, nyquist, num_bins, dtype=torch.float64).clamp(centres[0], centres[-1])
    upper = torch.searchsorted(centres, bins).clamp(1, num_bands - 1)
    weight = (bins - centres[upper - 1]) / (centres[upper] - centres[upper - 1])
    weights = torch.zeros(num_bands, num_bins, dtype=torch.float64)
    columns = torch.arange(num_bins)
    weights[upper - 1, columns] = 1 - weight
    weights[upper, columns] = weight
    return weights


def filtered_noise(magnitudes: Curve, seeds: Tensor, block: Block, *, bands: Tensor | None = None) -> Tensor:
    """White noise whose spectrum follows a curve: (batch, time) in the dtype of the magnitudes, float32 at least.

    magnitudes  (batch, row, band), linear and not below 0, at any rate: factors of the noise's amplitude
    seeds       (batch,) int64, see `uniform_noise`
    bands       (band, bin) from `filter_bands`; by default evenly spaced bands

    Frequency sampling: each row's response is transformed to taps, which the straight lines between the centres of
    bands make fall off as a squared sinc does, the window of this design. Filters have no phase and no delay and
    reach (bins - 1) samples to both sides. Each row filters its own noise, cut out by a Hann window of two hops; all
    windows add up to 1. Blocks are pieces of the whole up to rounding. Differentiable in the magnitudes.
    Raises `ValueError` for shapes that do not fit.
    """
    magnitudes = Curve(at_least_single(magnitudes.values), magnitudes.rate, magnitudes.start)
    values = magnitudes.values
    if values.ndim != 3 or values.shape[2] < 2 or not len(values):
        raise ValueError(
            f"magnitudes has values of shape {tuple(values.shape)}; give (1 example or more, row, 2 bands or more)."
        )
    check_tensor(seeds, "seeds")
    if seeds.shape != values.shape[:1]:
        raise ValueError(
            f"seeds has shape {tuple(seeds.shape)}; magnitudes of a batch of {len(values)} need as many."
        )
    if bands is None:
        bands = filter_bands(values.shape[2])
    if bands.ndim != 2 or bands.shape[0] != values.shape[2]:
        raise ValueError(
            f"bands has shape {tuple(bands.shape)}; for these magnitudes it is ({values.shape[2]}, bin)."
        )
    reach = bands.shape[1] - 1
    heard = Block(block.num_samples + 2 * reach, block.sample_rate, block.first_sample - reach)
    places = _RowPlaces(heard.rows_of(magnitudes), values.device)
    noise = uniform_noise(seeds.to(values.device), heard).to(values.dtype)
    frames = places.cut_out(noise) * narrow(places.windows(), values)
    size = fast_length(places.length + 2 * reach)
    responses = narrow(filter_responses(bands.to(wide_device(values.device)), size), values)
    row_values = values.index_select(1, places.rows().clamp(0, values.shape[1] - 1)) @ responses
    spectra = torch.fft.rfft(F.pad(frames, (reach, 0)), size)
    pieces = torch.fft.irfft(spectra * torch.unflatten(row_values, 1, spectra.shape[1:3]), size)
    return places.add_up(pieces, block.num_samples, skipped=2 * reach)


class _RowPlaces:
    """Where the noise of each row begins and ends: at the rows beside it. Rows are laid out as (group, row of a group).

    After a period rows lie between samples as before. If it has few rows, it is a group, and the same rows of all
    groups are cut out and added up together, which takes a small part of the time of doing so sample by sample.
    Otherwise there is one group.
    """

    def __init__(self, positions: RowPositions, device: torch.device) -> None:
        self.positions, self.device = positions, device
        self.length = 2 * positions.longest
        num_rows = positions.num_segments + 1
        self.distance, self.group_size = positions.period
        self.is_even = self.group_size <= LARGEST_GROUP
        self.group_size = self.group_size if self.is_even else num_rows
        self.num_groups = -(-num_rows // self.group_size)

    def rows(self) -> Tensor:
        """(group · row,) int64: numbers of the rows."""
        return torch.arange(self.num_groups * self.group_size, device=self.device) + self.positions.first_row

    def windows(self) -> Tensor:
        """(row, sample) float64, the same for each group: Hann windows of two hops, which add up to 1."""
        p = self.positions
        units = torch.arange(self.group_size, device=self.device)[:, None] * p.unit
        away = wide(self._samples() * p.step + p.remainder - units) / p.unit
        return hann_rise((1 - away.abs()).clamp(min=0))

    def cut_out(self, signal: Tensor) -> Tensor:
        """(batch, time) → (batch, group, row, sample), zeros outside the signal."""
        if not self.is_even:
            places = self._samples()
            return F.pad(signal, (1, 1))[:, None, (places + 1).clamp(0, signal.shape[1] + 1)]
        heard = (self.num_groups - 1) * self.distance + self.length
        frames = [stretch(signal, start, heard).unfold(1, self.length, self.distance) for start in self._starts()]
        return torch.stack(frames, 2)

    def add_up(self, pieces: Tensor, num_samples: int, *, skipped: int) -> Tensor:
        """Pieces (batch, group, row, sample) that begin `skipped` samples before the frames: (batch, num_samples)."""
        if not self.is_even:
            return overlap_add(pieces[:, 0], self._samples()[:, 0] - skipped, num_samples)
        sums = [
            overlap_add_evenly(pieces[:, :, row], start - skipped, self.distance, num_samples)
            for row, start in enumerate(self._starts())
        ]
        return sums[0] if len(sums) == 1 else torch.stack(sums).sum(0)

    def _starts(self) -> list[int]:
        """The first sample of each frame of the first group: the one at the row before, or after it."""
        p = self.positions
        return [-((p.remainder - (row - 1) * p.unit) // p.step) for row in range(self.group_size)]

    def _samples(self) -> Tensor:
        """(row, sample) int64: the samples of the frames of the first group."""
        p = self.positions
        units = torch.arange(-1, self.group_size - 1, device=self.device) * p.unit
        starts = -torch.div(p.remainder - units, p.step, rounding_mode="floor")
        return starts[:, None] + torch.arange(self.length, device=self.device)


def filter_responses(bands: Tensor, size: int) -> Tensor:
    """Response of each band's filter at the bins of a transform of `size`, (band, bin) → (band, size / 2 + 1), real.

    `bands` is from `filter_bands`; `size` is even and at least twice their number of bins.
    """
    reach = bands.shape[1] - 1
    taps = torch.fft.irfft(bands, 2 * reach).roll(reach, 1)
    taps = F.pad(taps, (0, 1))
    taps[:, 0] /= 2
    taps[:, -1] = taps[:, 0]
    spectra: Tensor = torch.fft.rfft(F.pad(taps, (0, size - 2 * reach - 1)).roll(-reach, 1))
    return spectra.real


class FilteredNoise(KeepsFloat64):
    """Noise filtered by a network's magnitudes, at one sample rate; it has no weights.

    `centres_hz`: (band,) rising, where the bands lie; by default evenly from 0 Hz to half the sample rate.
    """

    bands: Tensor

    def __init__(self, num_bands: int, sample_rate: Fraction | float, *, centres_hz: Tensor | None = None) -> None:
        super().__init__()
        self.sample_rate = exact_rate(sample_rate, "sample_rate")
        bands = filter_bands(num_bands, centres_hz=centres_hz, sample_rate=sample_rate)
        self.register_buffer("bands", bands, persistent=False)

    def forward(self, magnitudes: Curve, seeds: Tensor, num_samples: int) -> Tensor:
        """Noise (batch, time) of magnitudes (batch, row, band) and seeds (batch,) int64."""
        return filtered_noise(magnitudes, seeds, Block(num_samples, self.sample_rate), bands=self.bands)
