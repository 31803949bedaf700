"""Dense layers that act on the component axis of each grid cell alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Dense", "Standardise", "at_least_float32"]


def at_least_float32(values: Tensor) -> Tensor:
    """float64 as it is, anything else as float32: half precisions cannot hold small concentrations or scales."""
    return values if values.dtype == torch.float64 else values.float()


class Dense(nn.Linear):
    """One linear layer shared by all grid cells: (batch, in, *grid) → (batch, out, *grid).

    Starts orthogonal, so that it passes everything on at its own size: the path from encoder to latent to
    decoder is a chain of such layers, and each that shrinks its signal slows the whole (measured in docs/log.md).
    """

    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, features: Tensor) -> Tensor:
        cells = super().forward(features.movedim(1, -1)).movedim(-1, 1)
        return cells.contiguous()  # torch.compile traces a backward pass over transposed cells with wrong strides


class Standardise(nn.Module):
    """Shifts each component and scales all alike: (batch, component, *grid) → the same shape, (z - mean) / scale.

    A simplex of K components has values of about 1/K; a network learns better from values of about 1. `mean` and
    `stddev`, both (component,), are a prior's. The scale is the root mean square of `stddev`: components that the prior
    leaves almost nothing, the last sticks of a stick-breaking process, are not blown up a thousandfold when they
    are used all the same.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, stddev: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.detach().clone())
        self.register_buffer("scale", stddev.detach().square().mean().sqrt())

    def forward(self, z: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (z.dim() - 2)
        return (z - self.mean.view(shape)) / self.scale
