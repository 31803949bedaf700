"""The synthesiser of a DDSP model: curves of controls in, sound out (Engel et al. 2020, arXiv 2001.04643).

f0, amplitude, distribution ─▶ harmonics ─┐
                                           + ─▶ dry ─▶ reverb ─▶ sound
magnitudes ────────────────────▶ noise ───┘
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from dirvae.ddsp.block import Block
from dirvae.ddsp.curve import Curve, exact_rate
from dirvae.ddsp.harmonics import harmonic_amplitudes, harmonic_bank
from dirvae.ddsp.noise import FilteredNoise
from dirvae.ddsp.reverb import Reverb

__all__ = ["Controls", "SynthesisedSound", "Synthesiser"]


@dataclass(frozen=True, eq=False)
class Controls:
    """What the synthesiser plays; all curves have the same rate and start.

    f0            (batch, row) Hz
    amplitude     (batch, row), not below 0: the sum of the harmonics' amplitudes
    distribution  (batch, row, harmonic), not below 0: shares of the amplitude, scaled to a sum of 1 by the synthesiser
    magnitudes    (batch, row, band), not below 0: of the filtered noise
    """

    f0: Curve
    amplitude: Curve
    distribution: Curve
    magnitudes: Curve


@dataclass(frozen=True, eq=False)
class SynthesisedSound:
    """A sound and its parts, each (batch, time).

    `dry` is harmonics + noise; `sound` is `dry` with its reverberation, or `dry` where there is no reverb.
    """

    harmonics: Tensor
    noise: Tensor
    dry: Tensor
    sound: Tensor


class Synthesiser(nn.Module):
    """Harmonics, filtered noise and a learned reverb at one sample rate.

    sample_rate     samples per second
    num_bands       bands of the noise, evenly spaced from 0 Hz to half the sample rate
    reverb_seconds  length of the impulse response, which is learned; None: no reverb

    Only the reverb has weights.
    """

    def __init__(
        self, sample_rate: Fraction | float, *, num_bands: int = 65, reverb_seconds: float | None = None
    ) -> None:
        super().__init__()
        self.sample_rate = exact_rate(sample_rate, "sample_rate")
        self.noise = FilteredNoise(num_bands, self.sample_rate)
        self.reverb = None if reverb_seconds is None else Reverb(self.sample_rate, seconds=reverb_seconds)

    def forward(self, controls: Controls, seeds: Tensor, num_samples: int) -> SynthesisedSound:
        """The sound of `controls`, `num_samples` from time 0 on. `seeds`: (batch,) int64, of the noise.

        Computed in float32 at least, inside autocast too. Raises `ValueError` for controls whose shapes do not fit.
        """
        with torch.autocast(controls.f0.values.device.type, enabled=False):
            harmonics = self.play_harmonics(controls, Block(num_samples, self.sample_rate))[0]
            noise: Tensor = self.noise(controls.magnitudes, seeds, num_samples)
            dry = harmonics + noise.to(harmonics.dtype)
            return SynthesisedSound(harmonics, noise, dry, dry if self.reverb is None else self.reverb(dry))

    def play_harmonics(
        self, controls: Controls, block: Block, *, phase: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The harmonics of a block, (batch, time), and the phase after it, as `harmonic_bank` returns them."""
        amplitudes = harmonic_amplitudes(
            controls.f0, controls.amplitude, controls.distribution, sample_rate=self.sample_rate
        )
        return harmonic_bank(controls.f0, amplitudes, block, phase=phase)
