"""Controls scaled so that they sound as loud as asked: a decoder then learns the colour of a sound, not its level."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn

from dirvae.ddsp.noise import filter_bands, filter_responses
from dirvae.ddsp.weighting import a_weighting

__all__ = ["Levelling"]

NOISE_POWER = 2 / 3
"""Of white noise, uniform in (-1, 1), as loudness counts it: that of a sine of amplitude 1 is 1."""
LEAST_WEIGHT = 1e-3
"""Of a harmonic: -30 dB, A-weighting at 50 Hz. A lower tone would have to be enormous to be loud."""
LEAST_POWER = 1e-20
POINTS = 16
"""Of the frequencies, for each bin of a filter."""


class Levelling(nn.Module):
    """Scales amplitudes and magnitudes to a loudness that is asked for.

    sample_rate    samples per second
    num_harmonics  of the distribution
    num_bands      of the noise, evenly spaced from 0 Hz to half the sample rate

    The loudness of a row is the A-weighted power of harmonics and noise: that of `dirvae.ddsp.loudness_curve` where
    controls hold still, within 0.1 dB above 100 Hz. `offset_db` is learned; it stands for what a reverb adds.
    """

    noise_weights: Tensor
    numbers: Tensor

    def __init__(self, sample_rate: Fraction | float, num_harmonics: int, num_bands: int) -> None:
        super().__init__()
        self.nyquist = float(sample_rate) / 2
        self.offset_db = nn.Parameter(torch.zeros(()))
        self.register_buffer("numbers", torch.arange(1, num_harmonics + 1).float(), persistent=False)
        self.register_buffer("noise_weights", _noise_weights(sample_rate, num_bands), persistent=False)

    def forward(self, controls: Tensor, f0: Tensor, loudness: Tensor) -> Tensor:
        """Controls side by side, (batch, row, amplitude + harmonic + band), all but the distribution scaled.

        f0 in Hz and loudness in dB are (batch, row).
        """
        sizes = [1, len(self.numbers), len(self.noise_weights)]
        amplitude, distribution, magnitudes = torch.split(controls, sizes, 2)
        hz = f0[..., None] * self.numbers
        heard = torch.where(hz < self.nyquist, distribution, 0)
        shares = heard / heard.sum(2, keepdim=True).clamp(min=LEAST_POWER)
        weights = a_weighting(hz).clamp(min=LEAST_WEIGHT)
        harmonic = (shares.square() * weights).sum(2, keepdim=True) * amplitude.square()
        noise = (magnitudes @ self.noise_weights * magnitudes).sum(2, keepdim=True)
        asked = torch.pow(10.0, (loudness[..., None] + self.offset_db) / 20)
        gain = asked * (harmonic + noise).clamp(min=LEAST_POWER).rsqrt()
        return torch.cat((amplitude * gain, distribution, magnitudes * gain), 2)


def _noise_weights(sample_rate: Fraction | float, num_bands: int) -> Tensor:
    """What the products of pairs of magnitudes add to the loudness: (band, band)."""
    bands = filter_bands(num_bands, sample_rate=sample_rate).double()
    responses = filter_responses(bands, POINTS * (bands.shape[1] - 1))
    weights = a_weighting(torch.linspace(0, float(sample_rate) / 2, responses.shape[1], dtype=torch.float64))
    weights[[0, -1]] /= 2  # the ends of an interval of frequencies count half
    return (NOISE_POWER / (len(weights) - 1) * (responses * weights) @ responses.T).float()
