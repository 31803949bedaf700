"""Latents in the plane: a diagonal Gaussian posterior per grid cell against the standard normal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dirvae import noise
from dirvae.float64 import narrow, wide, wide_here
from dirvae.latents.cells import along_components, sum_over_cells
from dirvae.latents.dense import Dense, at_least_float32
from dirvae.latents.latent import Latent, Posterior

__all__ = ["Gaussian", "GaussianPosterior", "GaussianPrior"]

MIN_SCALE = 1e-4


@dataclass(frozen=True, eq=False)
class GaussianPosterior:
    """Independent normals: mean and scale (standard deviation), each (batch, K, *grid) float32."""

    mean: Tensor
    scale: Tensor

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Mean and scale by name."""
        return {"mean": self.mean, "scale": self.scale}

    def widened(self, width: float) -> GaussianPosterior:
        """The same means, `width` times the variance."""
        return GaussianPosterior(self.mean, self.scale * math.sqrt(width))

    def rsample(self, generator: Generator | None = None) -> Tensor:
        """One differentiable draw: (batch, K, *grid)."""
        return self.mean + self.scale * noise.normal(self.mean, generator)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density at `z` (batch, K, *grid) in nats, summed over the grid: (batch,), in the dtype of `z`."""
        scale = wide(self.scale)
        standard = (wide(z) - wide(self.mean)) / scale
        parts = -0.5 * standard.square() - scale.log() - 0.5 * math.log(2 * math.pi)
        return narrow(sum_over_cells(parts.sum(1)), z)

    def __repr__(self) -> str:
        return f"GaussianPosterior(mean={tuple(self.mean.shape)}, scale={tuple(self.scale.shape)})"


@dataclass(frozen=True, eq=False)
class GaussianPrior:
    """The standard normal for all examples and grid cells: mean and stddev, each (K,) float32."""

    mean: Tensor
    stddev: Tensor

    def over(self, num: int, *grid: int) -> GaussianPosterior:
        """The prior as a distribution over `num` examples on a grid."""
        full = torch.empty((), device=self.mean.device).expand(num, self.mean.shape[0], *grid)
        mean, stddev = (along_components(value, full).expand_as(full) for value in (self.mean, self.stddev))
        return GaussianPosterior(mean, stddev)

    @torch.no_grad()
    def sample(self, num: int, *grid: int, generator: Generator | None = None) -> Tensor:
        """`num` draws over a grid: (num, K, *grid)."""
        return self.over(num, *grid).rsample(generator)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of `z` (batch, K, *grid) in nats, summed over the grid: (batch,), in the dtype of `z`."""
        return self.over(z.shape[0], *z.shape[2:]).log_prob(z)


class Gaussian(Latent):
    """Gaussian latent of a standard VAE (Kingma and Welling 2013, arXiv 1312.6114).

    `mean_head`, `scale_head`: features (batch, K, *grid) → the same shape; softplus makes the scale positive.
    """

    prior_mean: Tensor
    prior_stddev: Tensor

    def __init__(
        self, model_size: int, *, mean_head: nn.Module | None = None, scale_head: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.model_size = model_size
        self.register_buffer("prior_mean", torch.zeros(model_size))
        self.register_buffer("prior_stddev", torch.ones(model_size))
        self.mean_head = mean_head if mean_head is not None else Dense(model_size, model_size)
        self.scale_head = scale_head if scale_head is not None else Dense(model_size, model_size)

    @property
    def prior(self) -> GaussianPrior:
        """The standard normal."""
        return GaussianPrior(self.prior_mean, self.prior_stddev)

    def posterior(self, features: Tensor) -> GaussianPosterior:
        """Normals read from `features` (batch, K, *grid), float32."""
        with torch.autocast(features.device.type, enabled=False):
            features = at_least_float32(features)
            scale = F.softplus(self.scale_head(features)) + MIN_SCALE
            return GaussianPosterior(self.mean_head(features), scale)

    def kl(self, posterior: Posterior) -> Tensor:
        """KL divergence from the standard normal in nats, summed over the grid: (batch,) float32."""
        mean, scale = (wide_here(posterior.parameters[name]) for name in ("mean", "scale"))
        parts = 0.5 * (mean.square() + scale.square() - 1) - scale.log()
        return sum_over_cells(parts.sum(1)).float()
