"""Latents on the simplex as the softmax of a diagonal Gaussian: the logistic-normal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dirvae import noise
from dirvae.float64 import narrow, wide
from dirvae.latents.cells import along_components
from dirvae.latents.dense import Dense, at_least_float32
from dirvae.latents.dirichlet_prior import prior_concentration
from dirvae.latents.latent import Posterior, SimplexLatent
from dirvae.latents.logistic_normal_density import (
    dirichlet_to_logits,
    logistic_normal_kl,
    logistic_normal_log_prob,
    logit_kl,
)
from dirvae.latents.logistic_normal_moments import logistic_normal_moments

__all__ = ["LogisticNormal", "LogisticNormalPosterior", "LogisticNormalPrior"]

MIN_SCALE = 1e-4
KLS = {"simplex": logistic_normal_kl, "logits": logit_kl}


@dataclass(frozen=True, eq=False)
class LogisticNormalPosterior:
    """Softmax of independent normals: location and scale of the logits, each (batch, K, *grid) float32."""

    location: Tensor
    scale: Tensor

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Location and scale of the logits by name."""
        return {"location": self.location, "scale": self.scale}

    @property
    def mean(self) -> Tensor:
        """Expected point of the simplex, by quadrature: (batch, K, *grid), sums to 1 over axis 1."""
        return logistic_normal_moments(self.location, self.scale)[0]

    def widened(self, width: float) -> LogisticNormalPosterior:
        """The same locations, `width` times the variance of the logits."""
        return LogisticNormalPosterior(self.location, self.scale * math.sqrt(width))

    def log_rsample(self, generator: Generator | None = None) -> Tensor:
        """Log of one differentiable draw: (batch, K, *grid), finite even where the draw underflows to 0."""
        logits = self.location + self.scale * noise.normal(self.location, generator)
        return torch.log_softmax(logits, dim=1)

    def rsample(self, generator: Generator | None = None) -> Tensor:
        """One differentiable draw: (batch, K, *grid), sums to 1 over axis 1."""
        return self.log_rsample(generator).exp()

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density at `z` (batch, K, *grid) in nats, summed over the grid: (batch,), in the dtype of `z`."""
        return narrow(self.log_prob_of_log(wide(z).log()), z)

    def log_prob_of_log(self, log_z: Tensor) -> Tensor:
        """Log density at exp(`log_z`): what `log_prob` gives, also where z itself underflows to 0."""
        return logistic_normal_log_prob(log_z, self.location, self.scale)

    def __repr__(self) -> str:
        return f"LogisticNormalPosterior(location={tuple(self.location.shape)})"


@dataclass(frozen=True, eq=False)
class LogisticNormalPrior:
    """One logistic-normal for all examples and grid cells: location and scale of the logits, each (K,) float32."""

    location: Tensor
    scale: Tensor

    @property
    def mean(self) -> Tensor:
        """Expected share of each component, by quadrature: (K,), sums to 1."""
        return self._moments()[0].to(self.location.dtype).to(self.location.device)

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of each component, by quadrature: (K,)."""
        mean, mean_square = self._moments()
        return (mean_square - mean.square()).clamp(min=0).sqrt().to(self.location.dtype).to(self.location.device)

    def over(self, num: int, *grid: int) -> LogisticNormalPosterior:
        """The prior as a distribution over `num` examples on a grid."""
        full = self.location.new_empty(()).expand(num, len(self.location), *grid)
        location, scale = (along_components(value, full).expand_as(full) for value in (self.location, self.scale))
        return LogisticNormalPosterior(location, scale)

    @torch.no_grad()
    def sample(self, num: int, *grid: int, generator: Generator | None = None) -> Tensor:
        """`num` draws over a grid: (num, K, *grid), sums to 1 over axis 1."""
        return self.over(num, *grid).rsample(generator)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of `z` (batch, K, *grid) in nats, summed over the grid: (batch,), in the dtype of `z`."""
        return self.over(z.shape[0], *z.shape[2:]).log_prob(z)

    def log_prob_of_log(self, log_z: Tensor) -> Tensor:
        """Log density of exp(`log_z`), also where that underflows to 0."""
        return self.over(log_z.shape[0], *log_z.shape[2:]).log_prob_of_log(log_z)

    def _moments(self) -> tuple[Tensor, Tensor]:
        """E[z] and E[z²]: each (K,) float64."""
        mean, mean_square = logistic_normal_moments(wide(self.location[None]), wide(self.scale[None]))
        return mean[0], mean_square[0]


class LogisticNormal(SimplexLatent):
    """Logistic-normal latent: the softmax of a diagonal Gaussian, as in ProdLDA (arXiv 1703.01488).

    `prior`: concentration of the Dirichlet whose Laplace approximation is the prior, one number or one for each
    component. 1, the standard normal on the logits, by default; ProdLDA's diagonal approximation makes the same
    of 1 - 1/K.
    `location_head`, `scale_head`: features (batch, K, *grid) → the same shape; softplus makes the scale positive.
    `kl`: "simplex", the divergence of the laws of the shares, or "logits", that of the K logits. The logits' is
    larger (ProdLDA trains on it): it also counts their common shift, which the softmax throws away.
    Raises ValueError for a wrong setting.
    """

    prior_location: Tensor
    prior_scale: Tensor

    def __init__(
        self,
        model_size: int,
        *,
        prior: float | Sequence[float] | None = None,
        location_head: nn.Module | None = None,
        scale_head: nn.Module | None = None,
        kl: str = "simplex",
    ) -> None:
        super().__init__()
        if kl not in KLS:
            raise ValueError(f"no kl is called {kl!r}; use one of {', '.join(KLS)}.")
        self.model_size = model_size
        self.kl_name = kl
        location, scale = dirichlet_to_logits(prior_concentration(1.0 if prior is None else prior, model_size))
        self.register_buffer("prior_location", location)
        self.register_buffer("prior_scale", scale)
        self.location_head = location_head if location_head is not None else Dense(model_size, model_size)
        self.scale_head = scale_head if scale_head is not None else Dense(model_size, model_size)

    @property
    def prior(self) -> LogisticNormalPrior:
        """The fixed logistic-normal prior."""
        return LogisticNormalPrior(self.prior_location, self.prior_scale)

    def posterior(self, features: Tensor) -> LogisticNormalPosterior:
        """Logistic-normal read from `features` (batch, K, *grid), float32."""
        with torch.autocast(features.device.type, enabled=False):
            features = at_least_float32(features)
            scale = F.softplus(self.scale_head(features)) + MIN_SCALE
            return LogisticNormalPosterior(self.location_head(features), scale)

    def kl(self, posterior: Posterior) -> Tensor:
        """KL divergence from the prior in nats, summed over the grid: (batch,) float32."""
        location, scale = posterior.parameters["location"], posterior.parameters["scale"]
        prior_location, prior_scale = (
            along_components(value, location) for value in (self.prior_location, self.prior_scale)
        )
        return KLS[self.kl_name](location, scale, prior_location, prior_scale)
