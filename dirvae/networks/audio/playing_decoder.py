"""A `DDSPDecoder` for playing: the same rows from fewer operations, because of a few rows at a time only these cost.

The stacks of f0, loudness and latent have equal layers, so that one batched product serves all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dirvae.ddsp.units import exp_sigmoid
from dirvae.networks.audio.ddsp_decoder import DDSPDecoder, scaled_inputs

__all__ = ["PlayingDecoder"]


@dataclass(frozen=True, eq=False)
class _Layer:
    """A linear layer and its norm for each of some stacks: (stack, in, out), and (stack, 1, out) three times."""

    weight: Tensor
    bias: Tensor
    gain: Tensor
    shift: Tensor

    @classmethod
    def of(cls, pairs: Sequence[tuple[nn.Linear, nn.LayerNorm]]) -> _Layer:
        most = max(linear.in_features for linear, _ in pairs)
        weights = [F.pad(linear.weight, (0, most - linear.in_features)).T for linear, _ in pairs]
        rows = [(linear.bias, norm.weight, norm.bias) for linear, norm in pairs]
        bias, gain, shift = (torch.stack(column)[:, None].detach() for column in zip(*rows, strict=True))
        return cls(torch.stack(weights).detach(), bias, gain, shift)

    def __call__(self, x: Tensor) -> Tensor:
        """(stack, row, in) → (stack, row, out)."""
        made = torch.baddbmm(self.bias, x, self.weight)
        return F.silu(torch.addcmul(self.shift, F.layer_norm(made, made.shape[2:]), self.gain))


class PlayingDecoder:
    """Rows of controls, f0 included, side by side; the weights are copied and used as they are now."""

    def __init__(self, decoder: DDSPDecoder) -> None:
        stacks = [decoder.f0_stack, decoder.loudness_stack, decoder.latent_stack]
        self.core, self.follows_level, self.levelling = decoder.core, decoder.follows_level, decoder.levelling
        self._inputs = _layers([stack for stack in stacks if stack is not None])
        self._outputs = _layers([decoder.output_stack])
        self._weight, self._bias = decoder.head.weight.detach().clone().T, decoder.head.bias.detach().clone()
        self._direct = None if decoder.direct is None else decoder.direct.weight.detach().clone().T

    def __call__(self, latent: Tensor | None, f0: Tensor, loudness: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, row, channel): f0, amplitude, harmonics, bands; and the core's state after the last row.

        The arguments are those of `DDSPDecoder.forward`, 1 row or more; nothing is checked.
        """
        first = self._inputs[0].weight
        x = first.new_zeros(len(first), *f0.shape, first.shape[1])
        x[0, :, :, 0], x[1, :, :, 0] = scaled_inputs(f0, loudness)
        if latent is not None:
            x[2, :, :, : latent.shape[2]] = latent
        x = x.flatten(1, 2)
        for layer in self._inputs:
            x = layer(x)
        inputs = x.transpose(0, 1).reshape(*f0.shape, -1)
        remembered, state = self.core(inputs, state)
        x = torch.cat((remembered, inputs), 2).view(1, f0.numel(), -1)
        for layer in self._outputs:
            x = layer(x)
        raw = torch.addmm(self._bias, x[0], self._weight).view(*f0.shape, -1)
        if self._direct is not None and latent is not None:
            raw = raw + latent @ self._direct
        made = exp_sigmoid(torch.addcmul(raw, loudness[..., None] / 20, self.follows_level))
        if self.levelling is not None:
            made = self.levelling(made, f0, loudness)
        return torch.cat((f0[..., None], made), 2), state


def _layers(stacks: Sequence[nn.Sequential]) -> list[_Layer]:
    """The layers of stacks of `linear, norm, SiLU` three by three, each layer for all stacks."""
    found = []
    for number in range(0, len(stacks[0]), 3):
        pairs = []
        for stack in stacks:
            linear, norm = stack[number], stack[number + 1]
            assert isinstance(linear, nn.Linear)
            assert isinstance(norm, nn.LayerNorm)
            pairs.append((linear, norm))
        found.append(_Layer.of(pairs))
    return found
