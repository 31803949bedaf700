"""From a latent, pitch and loudness to the controls of a synthesiser, row by row (Engel et al. 2020, arXiv 2001.04643).

latent ───▶ stack ─┐
f0 ───────▶ stack ─┼─▶ core ─┬─▶ stack ─▶ amplitude, distribution, magnitudes
loudness ─▶ stack ─┘         │
    └──────── all three ─────┘

Each input has a stack of its own, so that none has to share its scale. On demand the last layer reads the latent too:
then each component has a spectrum of its own, in logarithms, which its share adds. The core sees this row and earlier
ones only, so that the decoder can play while its input is still coming in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from dirvae.ddsp.units import exp_sigmoid, hz_to_midi
from dirvae.latents.dense import at_least_float32
from dirvae.networks.audio.cores import make_core
from dirvae.networks.audio.levelling import Levelling
from dirvae.networks.audio.presets import Preset

__all__ = ["ControlRows", "DDSPDecoder", "scaled_inputs"]

MIDDLE_MIDI, MIDI_SCALE = 60.0, 24.0
MIDDLE_DB, DB_SCALE = -40.0, 20.0
NOISE_BIAS = -3.0
DIRECT_STD = 0.3
LOWEST_HZ = 1.0


@dataclass(frozen=True, eq=False)
class ControlRows:
    """Rows of controls: amplitude (batch, row), distribution (batch, row, harmonic), magnitudes (batch, row, band).

    All are 0 or more, in the units of `dirvae.ddsp.synthesiser.Controls`.
    """

    amplitude: Tensor
    distribution: Tensor
    magnitudes: Tensor


class DDSPDecoder(nn.Module):
    """Controls from a latent, pitch and loudness.

    latent_size    components of the latent; 0 for a decoder without one
    num_harmonics  harmonics of the distribution
    num_bands      bands of the noise
    preset         sizes of the networks
    core           "gru" or "conv"; None: that of the preset
    reads_latent_last  whether the last layer reads the latent too
    levelled_at    the sample rate at which the controls have exactly the loudness asked for; None: not levelled
    """

    follows_level: Tensor

    def __init__(
        self,
        latent_size: int,
        num_harmonics: int,
        num_bands: int,
        preset: Preset,
        *,
        core: str | None = None,
        reads_latent_last: bool = False,
        levelled_at: Fraction | float | None = None,
    ) -> None:
        super().__init__()
        width = preset.width
        self.latent_stack = _stack(latent_size, width, preset.layers) if latent_size else None
        self.f0_stack = _stack(1, width, preset.layers)
        self.loudness_stack = _stack(1, width, preset.layers)
        read = width * (2 if self.latent_stack is None else 3)
        self.core = make_core(preset.core if core is None else core, read, preset.hidden)
        self.output_stack = _stack(preset.hidden + read, width, preset.layers)
        self.sizes = [1, num_harmonics, num_bands]
        self.head = nn.Linear(width, sum(self.sizes))
        is_direct = reads_latent_last and latent_size > 0
        self.direct = nn.Linear(latent_size, sum(self.sizes), bias=False) if is_direct else None
        self.levelling = None if levelled_at is None else Levelling(levelled_at, num_harmonics, num_bands)
        follows = [
            torch.full((size,), float(is_level and levelled_at is None))
            for size, is_level in zip(self.sizes, (1, 0, 1), strict=True)
        ]
        self.register_buffer("follows_level", torch.cat(follows), persistent=False)
        with torch.no_grad():
            self.head.weight.mul_(0.5)
            self.head.bias.copy_(_first_bias(self.sizes))
            if self.direct is not None:
                self.direct.weight.normal_(std=DIRECT_STD / latent_size**0.5)

    def forward(
        self, latent: Tensor | None, f0: Tensor, loudness: Tensor, state: Tensor | None = None
    ) -> tuple[ControlRows, Tensor]:
        """Controls, and the core's state after the last row.

        latent    (batch, row, component); None where latent_size is 0
        f0        (batch, row) Hz, above 0
        loudness  (batch, row) dB
        state     of the core after the row before; None before the first row

        Amplitudes follow the loudness, 10 dB for 10 dB, from the first step of training on; what is learned is how
        they deviate, unless they are levelled. ValueError where a latent is missing or not expected.
        """
        inputs = self._read(latent, f0, loudness)
        remembered, state = self.core(inputs, state)
        made = self.output_stack(torch.cat((remembered, inputs), 2))
        with torch.autocast(made.device.type, enabled=False):
            return self._controls(at_least_float32(made), latent, f0, loudness), state

    def _controls(self, made: Tensor, latent: Tensor | None, f0: Tensor, loudness: Tensor) -> ControlRows:
        """Controls in float32: half precision steps from row to row by what can be heard."""
        level = loudness[..., None] / 20
        raw = self.head(made)
        if self.direct is not None and latent is not None:
            raw = raw + self.direct(latent.float())
        controls = exp_sigmoid(torch.addcmul(raw, level, self.follows_level))
        if self.levelling is not None:
            controls = self.levelling(controls, f0, loudness)
        amplitude, distribution, magnitudes = torch.split(controls, self.sizes, 2)
        return ControlRows(amplitude[..., 0], distribution, magnitudes)

    def _read(self, latent: Tensor | None, f0: Tensor, loudness: Tensor) -> Tensor:
        """What the stacks make of the inputs: (batch, row, channel)."""
        pitch, level = scaled_inputs(f0, loudness)
        read = [self.f0_stack(pitch[..., None]), self.loudness_stack(level[..., None])]
        if (latent is None) != (self.latent_stack is None):
            raise ValueError(
                "a latent is given to a decoder without one; leave it out."
                if latent is not None
                else "the decoder needs a latent (batch, row, component)."
            )
        if latent is not None and self.latent_stack is not None:
            read.append(self.latent_stack(latent))
        return torch.cat(read, 2)


def scaled_inputs(f0: Tensor, loudness: Tensor) -> tuple[Tensor, Tensor]:
    """f0 in Hz and loudness in dB as the stacks read them, of about -1 to 1: the same shapes."""
    pitch = (hz_to_midi(f0.clamp(min=LOWEST_HZ)) - MIDDLE_MIDI) / MIDI_SCALE
    return pitch, (loudness - MIDDLE_DB) / DB_SCALE


def _stack(channels: int, width: int, layers: int) -> nn.Sequential:
    """Linear layers, each normalised over its channels, with SiLU."""
    made: list[nn.Module] = []
    for layer in range(layers):
        made += [nn.Linear(channels if layer == 0 else width, width), nn.LayerNorm(width), nn.SiLU()]
    return nn.Sequential(*made)


def _first_bias(sizes: list[int]) -> Tensor:
    """Controls of the first step: harmonic k about 1/k as strong as the first, and quiet noise."""
    numbers = torch.arange(1, sizes[1] + 1)
    slope = 1.0 - torch.log(numbers) / math.log(10)
    return torch.cat((torch.zeros(1), slope, torch.full((sizes[2],), NOISE_BIAS)))
