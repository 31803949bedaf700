"""The mel scale, filters of equal width on it, and spectra by them.

Two scales are in use. "htk" (O'Shaughnessy 1987): 2595 · log10(1 + f / 700). "slaney" (Slaney 1998, Auditory Toolbox):
straight up to 1,000 Hz at 15 mel, then 27 mel for each factor of 6.4. Filters are triangles; the norm "slaney" divides
each by half its width in Hz, so that all have an area of 1, None leaves their peak at 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dirvae.ddsp.frames import Framing, framed_fft, power_of

__all__ = ["hz_to_mel", "mel_filterbank", "mel_spectrogram", "mel_to_hz"]

SCALES = ("slaney", "htk")
NORMS = ("slaney", None)
HTK_MEL, HTK_HZ = 2595.0, 700.0
BREAK_HZ, BREAK_MEL = 1000.0, 15.0
LOG_STEP = math.log(6.4) / 27


def hz_to_mel(hz: Tensor, *, scale: str = "slaney") -> Tensor:
    """Mel of frequencies in Hz, 0 or more: same shape. `scale`: "slaney" or "htk"."""
    _check_scale(scale)
    if scale == "htk":
        return HTK_MEL * torch.log10(1 + hz / HTK_HZ)
    above = BREAK_MEL + torch.log(hz.clamp(min=BREAK_HZ) / BREAK_HZ) / LOG_STEP
    return torch.where(hz < BREAK_HZ, hz * (BREAK_MEL / BREAK_HZ), above)


def mel_to_hz(mel: Tensor, *, scale: str = "slaney") -> Tensor:
    """Hz of mel, 0 or more: same shape. `scale`: "slaney" or "htk"."""
    _check_scale(scale)
    if scale == "htk":
        return HTK_HZ * (torch.pow(10.0, mel / HTK_MEL) - 1)
    above = BREAK_HZ * torch.exp((mel.clamp(min=BREAK_MEL) - BREAK_MEL) * LOG_STEP)
    return torch.where(mel < BREAK_MEL, mel * (BREAK_HZ / BREAK_MEL), above)


def mel_filterbank(
    sample_rate: float,
    fft_size: int,
    num_mels: int,
    *,
    lowest_hz: float = 0.0,
    highest_hz: float | None = None,
    scale: str = "slaney",
    norm: str | None = "slaney",
) -> Tensor:
    """Triangles on the mel scale: (mel, bin) float64, bins being fft_size // 2 + 1.

    `highest_hz`: half the sample rate by default. Each triangle rises from the middle of the one before and falls to
    the middle of the one behind. Raises `ValueError` for an unknown scale or norm, and frequencies that do not rise.
    """
    _check_scale(scale)
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}; use 'slaney' or None.")
    highest_hz = sample_rate / 2 if highest_hz is None else highest_hz
    if num_mels < 1 or not 0 <= lowest_hz < highest_hz <= sample_rate / 2:
        raise ValueError(
            f"{num_mels} mel filters from {lowest_hz} to {highest_hz} Hz; at least 1 filter, between 0 and "
            f"{sample_rate / 2} Hz and rising, is needed."
        )
    ends = hz_to_mel(torch.tensor([lowest_hz, highest_hz], dtype=torch.float64), scale=scale)
    corners = mel_to_hz(
        torch.linspace(float(ends[0]), float(ends[1]), num_mels + 2, dtype=torch.float64), scale=scale
    )
    bins = torch.arange(fft_size // 2 + 1, dtype=torch.float64) * (sample_rate / fft_size)
    lower, middle, upper = (corners[first : first + num_mels, None] for first in range(3))
    rising, falling = (bins - lower) / (middle - lower), (upper - bins) / (upper - middle)
    filters = torch.minimum(rising, falling).clamp(min=0)
    return filters * (2 / (upper - lower)) if norm == "slaney" else filters


def mel_spectrogram(signal: Tensor, framing: Framing, filters: Tensor, *, power: float = 2.0) -> Tensor:
    """Spectra by mel filters: (batch, time) and (mel, bin) → (batch, frame, mel).

    Frames are windowed by a periodic Hann window; `power`: 2 for power, 1 for magnitude. Raises `ValueError` for
    filters made for another length of transform.
    """
    if filters.shape[1] != framing.frame_length // 2 + 1:
        raise ValueError(
            f"filters has {filters.shape[1]} bins; frames of {framing.frame_length} samples have "
            f"{framing.frame_length // 2 + 1}: make them with fft_size={framing.frame_length}."
        )
    spectra = power_of(framed_fft(signal, framing))
    if power != 2:
        spectra = spectra.pow(power / 2)
    return spectra @ filters.T.to(spectra)


def _check_scale(scale: str) -> None:
    if scale not in SCALES:
        raise ValueError(f"scale is {scale!r}; use one of {', '.join(SCALES)}.")
