"""Convolution by the fast Fourier transform."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dirvae.ddsp.fft_lengths import fast_length

__all__ = ["fft_convolve"]

PIECE_TAPS, SMALLEST_PIECE = 4, 4096
"""A long signal is convolved in pieces: transforms of this many times the taps are the fastest."""


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
    length, taps = signal.shape[1] + impulse_response.shape[1] - 1, impulse_response.shape[1]
    size = fast_length(max(PIECE_TAPS * taps, SMALLEST_PIECE))
    if length <= 2 * size:
        size = fast_length(length)
        whole: Tensor = torch.fft.irfft(torch.fft.rfft(signal, size) * torch.fft.rfft(impulse_response, size), size)
        return whole[:, :length]
    return _in_pieces(signal, torch.fft.rfft(impulse_response, size), size, taps)[:, :length]


def _in_pieces(signal: Tensor, response: Tensor, size: int, taps: int) -> Tensor:
    """The convolution by pieces of the signal, each as long as fits in a transform of `size`: (batch, time)."""
    step = size - taps + 1
    num = -(-signal.shape[1] // step)
    pieces = F.pad(signal, (0, num * step - signal.shape[1])).view(len(signal), num, step)
    made = torch.fft.irfft(torch.fft.rfft(pieces, size) * response[:, None], size)
    tails = F.pad(made[:, :, step:], (0, step - (taps - 1)))  # of the piece before, in the time of the next one
    body = F.pad(made[:, :, :step], (0, 0, 0, 1)) + F.pad(tails, (0, 0, 1, 0))
    return body.flatten(1)
