"""Convolution by the fast Fourier transform."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["fast_length", "fft_convolve"]


def fast_length(least: int) -> int:
    """The smallest even length of `least` or more whose prime factors are 2, 3 and 5: transforms of it are fast."""
    length = max(least + least % 2, 2)
    while not _is_smooth(length):
        length += 2
    return length


def _is_smooth(length: int) -> bool:
    for prime in (2, 3, 5):
        while length % prime == 0:
            length //= prime
    return length == 1


def fft_convolve(signal: Tensor, impulse_response: Tensor) -> Tensor:
    """Linear convolution, whole: (batch, time) and (batch or 1, tap) → (batch, time + tap - 1).

    float32 or float64, both the same. Raises `ValueError` for other shapes.
    """
    is_right = signal.ndim == impulse_response.ndim == 2 and impulse_response.shape[0] in (1, signal.shape[0])
    if not is_right or not signal.shape[0]:
        raise ValueError(
            f"signal has shape {tuple(signal.shape)}, impulse_response {tuple(impulse_response.shape)}; they are "
            "(batch, time) and (batch or 1, tap), with 1 example or more."
        )
    length = signal.shape[1] + impulse_response.shape[1] - 1
    size = fast_length(length)
    spectrum = torch.fft.rfft(signal, size) * torch.fft.rfft(impulse_response, size)
    whole: Tensor = torch.fft.irfft(spectrum, size)
    return whole[:, :length]
