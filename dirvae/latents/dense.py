"""Dense layers that act on the component axis of each grid cell alone."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Dense", "Standardise"]


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
    """Shifts and scales each component: (batch, component, *grid) → the same shape, (z - mean) / stddev.

    A simplex of K components has values of about 1/K; a network learns better from values of about 1.
    """

    mean: Tensor
    stddev: Tensor

    def __init__(self, mean: Tensor, stddev: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.detach().clone())
        self.register_buffer("stddev", stddev.detach().clone())

    def forward(self, z: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (z.dim() - 2)
        return (z - self.mean.view(shape)) / self.stddev.view(shape)
