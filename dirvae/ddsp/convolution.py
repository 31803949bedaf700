"""Convolution by the fast Fourier transform."""

from __future__ import annotations

import torch
from torch import Tensor

from dirvae.ddsp.fft_lengths import fast_length

__all__ = ["fft_convolve"]


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
