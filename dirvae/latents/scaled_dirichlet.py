"""Latents on the simplex with a concentration and a rate a component: the scaled Dirichlet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from dirvae.float64 import narrow, wide
from dirvae.latents.cells import along_components
from dirvae.latents.dense import Dense, at_least_float32
from dirvae.latents.dirichlet import (
    DirichletPrior,
    make_concentration_head,
    read_concentration,
    widened_concentration,
)
from dirvae.latents.dirichlet_prior import prior_concentration
from dirvae.latents.estimators import exact_log_gamma
from dirvae.latents.latent import Posterior, SimplexLatent
from dirvae.latents.scaled_density import (
    scaled_dirichlet_jensen_kl,
    scaled_dirichlet_kl,
    scaled_dirichlet_log_prob,
    scaled_dirichlet_mean,
    scaled_multigamma_kl,
)

__all__ = ["ScaledDirichlet", "ScaledDirichletPosterior"]

MAX_LOG_RATE = math.log(1000)
KLS = {"exact": scaled_dirichlet_kl, "jensen": scaled_dirichlet_jensen_kl, "multigamma": scaled_multigamma_kl}


@dataclass(frozen=True, eq=False)
class ScaledDirichletPosterior:
    """Gammas with a concentration and a rate each, normalised: both (batch, K, *grid) float32, rates as logarithms."""

    concentration: Tensor
    log_rate: Tensor

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Concentration and log rate by name."""
        return {"concentration": self.concentration, "log_rate": self.log_rate}

    @property
    def mean(self) -> Tensor:
        """Expected point of the simplex: (batch, K, *grid), sums to 1 over axis 1."""
        return scaled_dirichlet_mean(self.concentration, self.log_rate)

    def widened(self, width: float) -> ScaledDirichletPosterior:
        """The same rates, concentrations divided by `width`; none falls below 1e-3 by it."""
        return ScaledDirichletPosterior(widened_concentration(self.concentration, width), self.log_rate)

    def log_rsample(self, generator: Generator | None = None) -> Tensor:
        """Log of one differentiable draw: (batch, K, *grid), finite even where the draw underflows to 0."""
        with torch.autocast(self.concentration.device.type, enabled=False):
            return torch.log_softmax(exact_log_gamma(self.concentration, generator) - self.log_rate, dim=1)

    def rsample(self, generator: Generator | None = None) -> Tensor:
        """One differentiable draw: (batch, K, *grid), sums to 1 over axis 1."""
        return self.log_rsample(generator).exp()

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density at `z` (batch, K, *grid) in nats, summed over the grid: (batch,), in the dtype of `z`."""
        return narrow(self.log_prob_of_log(wide(z).log()), z)

    def log_prob_of_log(self, log_z: Tensor) -> Tensor:
        """Log density at exp(`log_z`): what `log_prob` gives, also where z itself underflows to 0."""
        return scaled_dirichlet_log_prob(log_z, self.concentration, self.log_rate)

    def __repr__(self) -> str:
        return f"ScaledDirichletPosterior(concentration={tuple(self.concentration.shape)})"


class ScaledDirichlet(SimplexLatent):
    """Scaled Dirichlet latent: normalised Gamma(a_k, b_k), against a Dirichlet prior.

    The form in which a rate beside the concentration means something: a rate that all components share cancels when
    the gammas are normalised, so only ratios of rates are learned, within a factor of 10⁶.
    `prior`: concentration of the Dirichlet prior, one number or one for each component; 1 - 1/K by default.
    `concentration_head`, `rate_head`: features (batch, K, *grid) → the same shape; dense layers per cell unless
    given, the rates' starting at zero: an untrained one gives the law of `Dirichlet`.
    `scale`: the concentration is scale · softplus(concentration_head), as for `Dirichlet`.
    `kl`: "exact" (by quadrature), or one of two upper bounds in closed form, "jensen" and the looser "multigamma".
    Raises ValueError for a wrong setting, and for a rate head that puts out one rate for all components.
    """

    prior_concentration: Tensor

    def __init__(
        self,
        model_size: int,
        *,
        prior: float | Sequence[float] | None = None,
        concentration_head: nn.Module | None = None,
        rate_head: nn.Module | None = None,
        scale: float = 30.0,
        kl: str = "exact",
    ) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise ValueError(f"scale is {scale}; concentrations need a finite scale above zero.")
        if kl not in KLS:
            raise ValueError(f"no kl is called {kl!r}; use one of {', '.join(KLS)}.")
        self.model_size = model_size
        self.scale = scale
        self.kl_name = kl
        self.register_buffer("prior_concentration", prior_concentration(prior, model_size))
        self.concentration_head = (
            concentration_head if concentration_head is not None else make_concentration_head(model_size, scale)
        )
        self.rate_head = rate_head if rate_head is not None else _rate_head(model_size)

    @property
    def prior(self) -> DirichletPrior:
        """The fixed Dirichlet prior."""
        return DirichletPrior(self.prior_concentration)

    def posterior(self, features: Tensor) -> ScaledDirichletPosterior:
        """Scaled Dirichlet read from `features` (batch, K, *grid): float32, concentrations within [1e-3, 1e4].

        Log rates are 7 · tanh(rate_head/7), less their mean over the components.
        """
        with torch.autocast(features.device.type, enabled=False):
            concentration = read_concentration(
                self.concentration_head, features, self.scale, model_size=self.model_size
            )
            raw_rate = self.rate_head(at_least_float32(features))
            if raw_rate.shape != concentration.shape:
                raise ValueError(
                    f"the rate head made {tuple(raw_rate.shape)}, but the concentrations are "
                    f"{tuple(concentration.shape)}; give each component its own rate, for a shared one cancels."
                )
            log_rate = MAX_LOG_RATE * torch.tanh(raw_rate / MAX_LOG_RATE)
            return ScaledDirichletPosterior(concentration, log_rate - log_rate.mean(1, keepdim=True))

    def kl(self, posterior: Posterior) -> Tensor:
        """KL divergence from the prior, or its bound, in nats, summed over the grid: (batch,) float32."""
        concentration, log_rate = (posterior.parameters[name] for name in ("concentration", "log_rate"))
        prior = along_components(self.prior_concentration, concentration)
        return KLS[self.kl_name](concentration, log_rate, prior)


def _rate_head(model_size: int) -> Dense:
    head = Dense(model_size, model_size)
    nn.init.zeros_(head.weight)
    return head
