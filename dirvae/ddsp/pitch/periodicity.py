"""How alike a sound is to itself a little later, around the moment of each row.

    n(τ) = 2 Σ x[j] x[j + τ] / Σ (x[j]² + x[j + τ]²)        1 where x repeats after τ, −1 where it repeats inverted

over all pairs j, j + τ within a window: the normalised square difference of McLeod & Wyvill 2005 ("A smarter way to
find pitch", ICMC). 1 − n is the difference function of de Cheveigné & Kawahara 2002 (JASA 111(4), equation 6) over the
energy that is compared. Pairs lie symmetrically about the window's middle for every τ, so high and low tones are
measured at the same moment, and a glide at its middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dirvae.ddsp.fft_lengths import fast_length

__all__ = ["LagWindow", "PreparedSound"]

LEAST_ENERGY = 1e-9


@dataclass(frozen=True)
class LagWindow:
    """Lags of up to `num_lags` samples, compared within windows that reach `reach` samples to each side."""

    num_lags: int

    @property
    def reach(self) -> int:
        """A lag less than the longest, which is there only to show where a peak ends."""
        return self.num_lags - 2

    @property
    def window(self) -> int:
        """Samples of a window, nearly twice the longest lag: about half of them take part at every lag."""
        return 2 * self.reach + 1

    @property
    def fft_size(self) -> int:
        """At least a window and the longest lag; even, without prime factors above 5."""
        return fast_length(self.window + self.num_lags)


class PreparedSound:
    """A batch of sounds (batch, time) in one line, with silence between them, so that any window is one stretch of it.

    What lies outside the sound is not compared.
    """

    def __init__(self, samples: Tensor, lags: LagWindow) -> None:
        self.lags = lags
        self.batch, self.num = samples.shape
        self.stride = self.num + 2 * lags.reach
        line = F.pad(samples, (lags.reach, lags.reach)).flatten()
        self.length = len(line)
        self.frames = F.pad(line, (0, lags.window)).unfold(0, lags.window, 1)
        energy = (0.5 * line.square()).repeat_interleave(2)  # in half samples, as lags are
        most = 2 * lags.num_lags
        self.from_begin = F.pad(energy, (0, most)).unfold(0, most, 1)
        self.from_end = F.pad(energy.flip(0), (0, most)).unfold(0, most, 1)

    def periodicity(self, sound: Tensor, middle: Tensor) -> Tensor:
        """n(τ) of the windows around samples `middle` of `sound`, (row,) each: (row, 2 · num_lags + 1).

        τ is 0, ½, 1, … `num_lags` samples: the correlation is interpolated twofold by its spectrum, because the peaks
        of high tones are too narrow to be found between whole samples.
        """
        first = sound * self.stride
        spectrum = torch.fft.rfft(self.frames.index_select(0, first + middle), self.lags.fft_size)
        power = spectrum.real.square().add_(spectrum.imag.square())
        power[:, -1] *= 0.5  # counted twice where it is no longer the highest frequency
        correlation = torch.fft.irfft(power, 2 * self.lags.fft_size)[:, : 2 * self.lags.num_lags + 1]
        begin, end = self._bounds(first, middle)
        outer = self.from_begin.index_select(0, 2 * begin).add_(
            self.from_end.index_select(0, 2 * (self.length - end))
        )
        energy = correlation[:, :1] - 0.25 * F.pad(outer.cumsum(1), (1, 0))
        found: Tensor = correlation / energy.clamp_(min=LEAST_ENERGY)
        return found

    def num_compared(self, middle: Tensor) -> Tensor:
        """How many samples of the windows around `middle` lie within the sound: (row,)."""
        begin, end = self._bounds(torch.zeros_like(middle), middle)
        return end - begin

    def _bounds(self, first: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
        """Where the windows begin and end in the line, cut at the ends of their sounds."""
        reach = self.lags.reach
        begin = first + middle.clamp(min=reach)
        end = first + (middle + 2 * reach + 1).clamp(max=self.num + reach)
        return begin, end
