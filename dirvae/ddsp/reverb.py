"""Reverberation: a signal convolved with an impulse response, beside the dry signal (Engel et al. 2020)."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dirvae.ddsp.block import Block
from dirvae.ddsp.convolution import fft_convolve
from dirvae.ddsp.curve import at_least_single, check_tensor, exact, exact_rate
from dirvae.ddsp.noise import uniform_noise

__all__ = ["DecayReverb", "Reverb", "add_reverb", "decay_impulse_response"]

SILENT_DB = 60.0


def add_reverb(dry: Tensor, impulse_response: Tensor) -> Tensor:
    """Dry plus wet: (batch, time) and (batch or 1, tap) → (batch, time), the tail behind the end left out.

    Half precision is computed in float32. Tap 0 of the impulse response counts as 0: the dry signal is there already.
    """
    check_tensor(dry, "dry")
    check_tensor(impulse_response, "impulse_response")
    dry, impulse_response = at_least_single(dry), at_least_single(impulse_response)
    later = F.pad(impulse_response[:, 1:], (1, 0))
    return dry + fft_convolve(dry, later)[:, : dry.shape[1]]


def decay_impulse_response(
    gain: Tensor, decay_seconds: Tensor, noise: Tensor, *, sample_rate: Fraction | float
) -> Tensor:
    """Noise that dies away exponentially: gain and decay_seconds (batch,), noise (batch or 1, tap) → (batch, tap).

    After `decay_seconds`, above 0, it is 60 dB below its start, which is `gain` times the noise.
    """
    seconds = torch.arange(noise.shape[1], dtype=noise.dtype, device=noise.device) / float(sample_rate)
    rate = math.log(10) * SILENT_DB / 20 / decay_seconds[:, None]
    return gain[:, None] * torch.exp(-rate * seconds) * noise


class Reverb(nn.Module):
    """An impulse response that is learned tap by tap: (batch, time) → (batch, time).

    `seconds`: its length. It begins as a quiet noise of level `scale`.
    Raises `ValueError` for a length below two samples.
    """

    def __init__(self, sample_rate: Fraction | float, *, seconds: float = 1.0, scale: float = 1e-6) -> None:
        super().__init__()
        num_taps = _num_taps(sample_rate, seconds)
        self.impulse_response = nn.Parameter(scale * torch.randn(num_taps))

    def forward(self, dry: Tensor) -> Tensor:
        """The signal with its reverberation."""
        return add_reverb(dry, self.impulse_response[None])


class DecayReverb(nn.Module):
    """An impulse response of noise that dies away, of which gain and decay are learned: (batch, time) → (batch, time).

    `seconds`: its length; `gain`, above 0, and `decay_seconds`, until it is 60 dB down: where they begin. The noise is
    that of `seed`, always the same.
    Raises `ValueError` for a length below two samples, and for a gain or a decay that is not above 0.
    """

    noise: Tensor

    def __init__(
        self,
        sample_rate: Fraction | float,
        *,
        seconds: float = 1.0,
        gain: float = 1e-2,
        decay_seconds: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        num_taps = _num_taps(sample_rate, seconds)
        for name, value in {"gain": gain, "decay_seconds": decay_seconds}.items():
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}; it must be above 0 and finite.")
        self.sample_rate = exact_rate(sample_rate, "sample_rate")
        self.log_gain = nn.Parameter(torch.tensor(math.log(gain)))
        self.log_decay_seconds = nn.Parameter(torch.tensor(math.log(decay_seconds)))
        noise = uniform_noise(torch.tensor([seed]), Block(num_taps, self.sample_rate))
        self.register_buffer("noise", noise, persistent=False)

    @property
    def impulse_response(self) -> Tensor:
        """(1, tap) as it is now."""
        gain, decay_seconds = self.log_gain.exp()[None], self.log_decay_seconds.exp()[None]
        return decay_impulse_response(gain, decay_seconds, self.noise, sample_rate=self.sample_rate)

    def forward(self, dry: Tensor) -> Tensor:
        """The signal with its reverberation."""
        return add_reverb(dry, self.impulse_response)


def _num_taps(sample_rate: Fraction | float, seconds: float) -> int:
    num_taps = round(exact(sample_rate, "sample_rate") * exact(seconds, "seconds"))
    if num_taps < 2:
        raise ValueError(f"seconds is {seconds}; at {sample_rate} samples per second 2 samples or more are needed.")
    return num_taps
