"""The multi-scale spectral loss: how far magnitudes of short-time spectra are apart, at several lengths of window.

Σ over scales of mean |X - Y| + weight · mean |log(X + ε) - log(Y + ε)| (Engel et al. 2020, arXiv 2001.04643).
Windows last from 128 to 4 ms, as the paper's 2,048 to 64 samples do at 16,000 Hz; at other sample rates their lengths
follow. It has no useful gradient in the fundamental frequency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dirvae.ddsp.curve import at_least_single, check_tensor, exact
from dirvae.ddsp.fft_lengths import has_small_factors
from dirvae.ddsp.frames import power_of

__all__ = ["MultiScaleSpectralLoss", "SpectralSums", "spectral_sums", "window_lengths"]

WINDOW_SECONDS = tuple(0.128 / 2**halvings for halvings in range(6))
OVERLAP = 4
EPSILON = 1e-5


@dataclass(frozen=True, eq=False)
class SpectralSums:
    """Sums of absolute differences, and of how many, so that parts of a batch or of a recording can be added up.

    linear, log  (batch, scale): sums of |X - Y| and of |log(X + ε) - log(Y + ε)| over frames and bins
    count        (batch, scale): how many terms each sum has
    """

    linear: Tensor
    log: Tensor
    count: Tensor

    def loss(self, *, log_weight: float = 1.0) -> Tensor:
        """Σ over scales of the means: (batch,). 0 for an example without a frame."""
        return ((self.linear + log_weight * self.log) / self.count.clamp(min=1)).sum(1)

    def __add__(self, other: SpectralSums) -> SpectralSums:
        """The sums over both, of the same batch: two stretches of each example."""
        return SpectralSums(self.linear + other.linear, self.log + other.log, self.count + other.count)


def window_lengths(sample_rate: Fraction | float, seconds: Sequence[float] = WINDOW_SECONDS) -> tuple[int, ...]:
    """Samples of windows that last about so long: multiples of 4 whose only prime factors are 2, 3, 5 and 7.

    2048, 1024, 512, 256, 128 and 64 at 16,000 Hz by default. Raises `ValueError` for windows below 4 samples.
    """
    wanted = [float(exact(sample_rate, "sample_rate")) * length for length in seconds]
    if not wanted or min(wanted) < OVERLAP:
        raise ValueError(
            f"windows of {tuple(seconds)} seconds at {sample_rate} samples per second; give one or more, each of "
            f"{OVERLAP} samples or more."
        )
    return tuple(OVERLAP * _nearest_smooth(length / OVERLAP) for length in wanted)


def _nearest_smooth(wanted: float) -> int:
    near = sorted(range(max(int(wanted * 0.9), 1), int(wanted * 1.1) + 2), key=lambda length: abs(length - wanted))
    return next(length for length in near if has_small_factors(length, (2, 3, 5, 7)))


def spectral_sums(
    predicted: Tensor, target: Tensor, windows: Sequence[int], *, lengths: Tensor | None = None
) -> SpectralSums:
    """Absolute differences of two signals' short-time magnitudes, summed: two (batch, time) → sums (batch, scale).

    windows  lengths in samples, multiples of 4: a scale each. Windows are Hann windows that overlap by three quarters
             and are centred on samples 0, hop, 2 · hop, … inside the signal, which counts as 0 outside
    lengths  (batch,) samples of each signal that are real: frames centred behind them are not counted
    Half precision is computed in float32. Raises `ValueError` for shapes and windows that do not fit.
    """
    check_tensor(predicted, "predicted")
    check_tensor(target, "target")
    if predicted.shape != target.shape or predicted.ndim != 2 or not predicted.numel():
        raise ValueError(
            f"predicted has shape {tuple(predicted.shape)}, target {tuple(target.shape)}; both are (batch, time) of "
            "the same shape, with 1 example and 1 sample or more."
        )
    if not windows or any(window < OVERLAP or window % OVERLAP for window in windows):
        raise ValueError(
            f"windows is {tuple(windows)}; one or more lengths that are multiples of {OVERLAP} are needed."
        )
    if lengths is not None and lengths.shape != predicted.shape[:1]:
        raise ValueError(
            f"lengths has shape {tuple(lengths.shape)}; it must be ({len(predicted)},), one per example."
        )
    predicted, target = at_least_single(predicted), at_least_single(target)
    found = [_scale_sums(predicted, target, window, lengths) for window in windows]
    linear, log, count = (torch.stack(column, 1) for column in zip(*found, strict=True))
    return SpectralSums(linear, log, count)


def _scale_sums(
    predicted: Tensor, target: Tensor, window: int, lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    hop = window // OVERLAP
    num_frames = -(-predicted.shape[1] // hop)
    mine, theirs = _magnitudes(predicted, window, num_frames), _magnitudes(target, window, num_frames)
    linear, log = (mine - theirs).abs(), ((mine + EPSILON).log() - (theirs + EPSILON).log()).abs()
    num_bins = mine.shape[2]
    if lengths is None:
        count = linear.new_full((len(linear),), num_frames * num_bins)
        return linear.sum((1, 2)), log.sum((1, 2)), count
    centres = torch.arange(num_frames, device=linear.device) * hop
    counts = centres < lengths.to(linear.device)[:, None]
    linear, log = (torch.where(counts[:, :, None], term, 0).sum((1, 2)) for term in (linear, log))
    return linear, log, counts.sum(1).to(linear.dtype) * num_bins


def _magnitudes(signal: Tensor, window: int, num_frames: int) -> Tensor:
    """|STFT|: (batch, frame, bin); its gradient is 0 where it is 0."""
    hop = window // OVERLAP
    behind = (num_frames - 1) * hop + window // 2 - signal.shape[1]
    frames = F.pad(signal, (window // 2, max(behind, 0))).unfold(1, window, hop)[:, :num_frames]
    shape = torch.hann_window(window, dtype=signal.dtype, device=signal.device)
    power = power_of(torch.fft.rfft(frames * shape))
    is_silent = power == 0  # what is no number stays so
    return torch.where(is_silent, 0, torch.where(is_silent, 1, power).sqrt())


class MultiScaleSpectralLoss(nn.Module):
    """The loss of each example at one sample rate: two (batch, time) → (batch,). It has no weights.

    `seconds`: of each scale's window. `log_weight`: of the logarithms beside the magnitudes themselves.
    The mean over examples of several batches or ranks is the mean of what they return; `sums` gives sums and counts.
    """

    def __init__(
        self, sample_rate: Fraction | float, *, seconds: Sequence[float] = WINDOW_SECONDS, log_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.windows = window_lengths(sample_rate, seconds)
        self.log_weight = log_weight

    def sums(self, predicted: Tensor, target: Tensor, lengths: Tensor | None = None) -> SpectralSums:
        """Sums and counts, (batch, scale) each."""
        return spectral_sums(predicted, target, self.windows, lengths=lengths)

    def forward(self, predicted: Tensor, target: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The loss (batch,); 0 for identical signals, and not finite for samples that are not.

        `lengths`: (batch,) samples that are real.
        """
        return self.sums(predicted, target, lengths).loss(log_weight=self.log_weight)
