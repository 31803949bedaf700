"""From a sound to features per control row: the shape of its spectrum on the mel scale, without its level.

sound ─▶ frames of 64 ms around each row ─▶ mel power in dB, less its mean over the mels ─▶ convolutions over the rows

What is 60 dB below the strongest mel of its row counts as that much, so that a louder sound has the same shape. Rows
near the ends have the first and the last whole frame: one that is half empty would hear a click.
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
    ) -> None:
        super().__init__()
        rate = exact_rate(sample_rate, "sample_rate")
        self.framing = Framing(fast_length(round(FRAME_SECONDS * rate)), exact_rate(control_rate, "rate"), rate)
        filters = mel_filterbank(float(rate), self.framing.frame_length, num_mels, lowest_hz=20.0)
        self.register_buffer("filters", filters.float(), persistent=False)
        self.entry = nn.Conv1d(num_mels, channels, 1)
        self.blocks = nn.ModuleList(_RowBlock(channels, dilation) for dilation in DILATIONS)
        self.exit = nn.Conv1d(channels, features_size, 1)

    @property
    def margin_rows(self) -> int:
        """How many rows to each side the features of a row depend on, its frame of 64 ms included."""
        return sum(DILATIONS) + math.ceil(self.framing.frame_length / 2 / self.framing.hop) + 1

    def spectra(self, samples: Tensor, num_rows: int) -> Tensor:
        """The shape of the spectrum around each row: (batch, time) → (batch, mel, row), in units of 20 dB."""
        with torch.autocast(samples.device.type, enabled=False):
            power = power_of(torch.fft.rfft(self._frames(samples, num_rows))) @ self.filters.T
        floor = FLOOR * power.amax(2, keepdim=True) + LEAST_POWER
        level = 10 * torch.log10(power + floor) / DECIBELS
        return (level - level.mean(2, keepdim=True)).transpose(1, 2)

    def _frames(self, samples: Tensor, num_rows: int) -> Tensor:
        """The windowed frame of each row, inside the sound: (batch, time) → (batch, row, sample)."""
        length = self.framing.frame_length
        samples = F.pad(samples, (0, max(length - samples.shape[1], 0)))
        starts = self.framing.starts(num_rows, samples.device).clamp(0, samples.shape[1] - length)
        window = torch.hann_window(length, dtype=samples.dtype, device=samples.device)
        return samples.unfold(1, length, 1)[:, starts] * window

    def forward(self, samples: Tensor, num_rows: int) -> Tensor:
        """Features of `num_rows` rows: (batch, time) → (batch, features_size, row)."""
        x = self.entry(self.spectra(samples, num_rows))
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.exit(F.silu(x))
        return features


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
