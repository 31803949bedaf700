"""From a sound to features per control row: the shape of its spectrum on the mel scale, without its level.

sound ─▶ frames of 64 ms around each row ─┬─▶ mels in dB, less their mean ──────┬─▶ convolutions over the rows
f0 ───────────────────────────────────────┴─▶ harmonics in dB, less their mean ─┘

The harmonics are read on demand only: where mels are wider than the distance between two harmonics, they do not tell
the level of a single one. What is 60 dB below the strongest mel or harmonic of its row counts as that much, so that a
louder sound has the same shape. Rows near the ends have the first and the last whole frame: one that is half empty
would hear a click.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dirvae.ddsp.curve import exact_rate
from dirvae.ddsp.fft_lengths import fast_length
from dirvae.ddsp.frames import Framing, power_of
from dirvae.ddsp.mel import mel_filterbank

__all__ = ["MelEncoder"]

FRAME_SECONDS = Fraction(64, 1000)
LEAST_POWER = 1e-9
FLOOR = 1e-6
DECIBELS = 20.0
DILATIONS = (1, 4, 16)
KERNEL = 3


class MelEncoder(nn.Module):
    """(batch, time) in [-1, 1] → features (batch, features_size, row), a row for each control row.

    sample_rate    samples per second
    control_rate   rows per second; row k is centred at k / control_rate seconds
    features_size  channels of the features
    channels       of the convolutions
    num_mels       bands of the mel scale
    num_harmonics  whose levels are read too; 0: none

    Each feature sees about 0.17 s to both sides of its row at 250 rows per second, besides its frame of 64 ms.
    """

    filters: Tensor

    def __init__(
        self,
        sample_rate: Fraction | float,
        control_rate: Fraction | float,
        features_size: int,
        *,
        channels: int,
        num_mels: int = 64,
        num_harmonics: int = 0,
    ) -> None:
        super().__init__()
        rate = exact_rate(sample_rate, "sample_rate")
        self.framing = Framing(fast_length(round(FRAME_SECONDS * rate)), exact_rate(control_rate, "rate"), rate)
        filters = mel_filterbank(float(rate), self.framing.frame_length, num_mels, lowest_hz=20.0)
        self.register_buffer("filters", filters.float(), persistent=False)
        self.num_harmonics = num_harmonics
        self.entry = nn.Conv1d(num_mels + num_harmonics, channels, 1)
        self.blocks = nn.ModuleList(_RowBlock(channels, dilation) for dilation in DILATIONS)
        self.exit = nn.Conv1d(channels, features_size, 1)

    @property
    def margin_rows(self) -> int:
        """How many rows to each side the features of a row depend on, its frame of 64 ms included."""
        return sum(DILATIONS) + math.ceil(self.framing.frame_length / 2 / self.framing.hop) + 1

    def spectra(self, samples: Tensor, num_rows: int, f0: Tensor | None = None) -> Tensor:
        """What the convolutions read of each row: (batch, time) → (batch, mel + harmonic, row), in units of 20 dB.

        f0 (batch, row) in Hz is needed where harmonics are read. One that has no bin of its own below half the sample
        rate counts as the mean of the others.
        """
        with torch.autocast(samples.device.type, enabled=False):
            power = power_of(torch.fft.rfft(self._frames(samples, num_rows)))
            mels = _levels(power @ self.filters.T.to(power.dtype))
        parts = [mels - mels.mean(2, keepdim=True)]
        if self.num_harmonics:
            if f0 is None:
                raise ValueError("this encoder reads the levels of harmonics, so it needs f0 (batch, row).")
            parts.append(self._harmonics(power, f0))
        return torch.cat(parts, 2).transpose(1, 2)

    def _harmonics(self, power: Tensor, f0: Tensor) -> Tensor:
        """The level of each harmonic above the mean: (batch, row, bin) and (batch, row) → (batch, row, harmonic)."""
        numbers = torch.arange(1, self.num_harmonics + 1, device=f0.device)
        bins = f0[..., None] * numbers * (self.framing.frame_length / float(self.framing.sample_rate))
        last = power.shape[2] - 1
        is_heard = bins + 1 < last
        nearest = bins.clamp(1, last - 1).round().long()
        around = torch.stack([power.gather(2, nearest + step) for step in (-1, 0, 1)]).amax(0)
        levels = _levels(torch.where(is_heard, around, 0))
        count = is_heard.sum(2, keepdim=True).clamp(min=1)
        mean = torch.where(is_heard, levels, 0).sum(2, keepdim=True) / count
        return torch.where(is_heard, levels - mean, 0)

    def _frames(self, samples: Tensor, num_rows: int) -> Tensor:
        """The windowed frame of each row, inside the sound: (batch, time) → (batch, row, sample)."""
        length = self.framing.frame_length
        samples = F.pad(samples, (0, max(length - samples.shape[1], 0)))
        starts = self.framing.starts(num_rows, samples.device).clamp(0, samples.shape[1] - length)
        window = torch.hann_window(length, dtype=samples.dtype, device=samples.device)
        return samples.unfold(1, length, 1)[:, starts] * window

    def forward(self, samples: Tensor, num_rows: int, f0: Tensor | None = None) -> Tensor:
        """Features of `num_rows` rows: (batch, time) → (batch, features_size, row). `f0` as in `spectra`."""
        x = self.entry(self.spectra(samples, num_rows, f0))
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.exit(F.silu(x))
        return features


def _levels(power: Tensor) -> Tensor:
    """Power in units of 20 dB, not lower than 60 dB below the largest of its row: the same shape."""
    floor = FLOOR * power.amax(2, keepdim=True) + LEAST_POWER
    return 10 * torch.log10(power + floor) / DECIBELS


class _RowBlock(nn.Module):
    """A convolution over rows and one of each row beside the identity: (batch, channel, row) → the same shape."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.over_rows = nn.Conv1d(channels, channels, KERNEL, dilation=dilation, padding=dilation)
        self.of_row = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x.transpose(1, 2)).transpose(1, 2)
        change: Tensor = self.of_row(F.silu(self.over_rows(F.silu(normed))))
        return x + change
