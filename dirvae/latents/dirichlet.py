"""Latents on the simplex: a Dirichlet posterior per grid cell against a Dirichlet prior, fixed or learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dirvae.float64 import narrow, wide
from dirvae.latents.cells import along_components
from dirvae.latents.dense import Dense, at_least_float32
from dirvae.latents.dirichlet_density import (
    dirichlet_kl,
    dirichlet_log_prob,
    dirichlet_mean_square,
    log_dirichlet_rsample,
    multigamma_kl,
)
from dirvae.latents.dirichlet_prior import MomentPrior, prior_concentration
from dirvae.latents.estimators import Estimator, exact_log_gamma, find_estimator
from dirvae.latents.latent import Posterior, SimplexLatent

__all__ = [
    "Dirichlet",
    "DirichletPosterior",
    "DirichletPrior",
    "make_concentration_head",
    "read_concentration",
    "widened_concentration",
]

MIN_CONCENTRATION = 1e-3
MAX_CONCENTRATION = 1e4
INITIAL_CONCENTRATION = 30.0
KLS = {"dirichlet": dirichlet_kl, "multigamma": multigamma_kl}


@dataclass(frozen=True, eq=False)
class DirichletPosterior:
    """One Dirichlet an example and grid cell: concentration (batch, K, *grid) float32, above zero."""

    concentration: Tensor
    estimator: Estimator = exact_log_gamma

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The concentration by name."""
        return {"concentration": self.concentration}

    @property
    def mean(self) -> Tensor:
        """Expected point of the simplex: (batch, K, *grid), sums to 1 over axis 1."""
        return self.concentration / self.concentration.sum(1, keepdim=True)

    def widened(self, width: float) -> DirichletPosterior:
        """The same mean, concentrations divided by `width`; none falls below 1e-3 by it."""
        return replace(self, concentration=widened_concentration(self.concentration, width))

    def log_rsample(self, generator: Generator | None = None) -> Tensor:
        """Log of one differentiable draw: (batch, K, *grid), finite even where the draw underflows to 0."""
        return log_dirichlet_rsample(self.concentration, estimator=self.estimator, generator=generator)

    def rsample(self, generator: Generator | None = None) -> Tensor:
        """One differentiable draw: (batch, K, *grid), sums to 1 over axis 1."""
        return self.log_rsample(generator).exp()

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density at `z` (batch, K, *grid) in nats, summed over the grid: (batch,), in the dtype of `z`."""
        return narrow(self.log_prob_of_log(wide(z).log()), z)

    def log_prob_of_log(self, log_z: Tensor) -> Tensor:
        """Log density at exp(`log_z`): what `log_prob` gives, also where z itself underflows to 0."""
        return dirichlet_log_prob(log_z, self.concentration)

    def __repr__(self) -> str:
        return f"DirichletPosterior(concentration={tuple(self.concentration.shape)})"


@dataclass(frozen=True, eq=False)
class DirichletPrior:
    """One Dirichlet for all examples and grid cells: concentration (K,) float32, above zero."""

    concentration: Tensor

    @property
    def mean(self) -> Tensor:
        """Expected share of each component: (K,), sums to 1."""
        return self.concentration / self.concentration.sum()

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of each component: (K,)."""
        return (self.mean * (1 - self.mean) / (self.concentration.sum() + 1)).sqrt()

    def over(self, num: int, *grid: int) -> DirichletPosterior:
        """The prior as a distribution over `num` examples on a grid."""
        full = self.concentration.new_empty(()).expand(num, self.concentration.shape[0], *grid)
        return DirichletPosterior(along_components(self.concentration, full).expand_as(full))

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


class Dirichlet(SimplexLatent):
    """Dirichlet latent of a Dirichlet VAE (Joo et al. 2019, arXiv 1901.02739), sampled exactly.

    `prior`: concentration of the prior, one number or one for each component; 1 - 1/K by default. "learned" or a
    `MomentPrior` fits it to the posteriors while the module is in training mode, as running means are.
    `head`: features (batch, K, *grid) → the same shape; a dense layer per cell by default.
    `scale`: the posterior's concentration is scale · softplus(head). The paper has 1, where a first draw is
    almost all noise and concentrations move slowly; 30, and a default head that starts every concentration
    at 30, let the features through from the first step (measured in docs/log.md).
    `estimator`: "exact", "laplace", "paper", "rsvi", "weibull", or a function like those in
    `dirvae.latents.estimators`: how training draws. `weighted_draw` is exact whichever it is.
    `kl`: "dirichlet", the divergence on the simplex, or "multigamma", the paper's, which is larger.
    Raises ValueError for a size below 2, a prior outside [1e-6, 1e6], a scale that is not positive, an unknown
    estimator or kl.
    """

    prior_concentration: Tensor
    moment_prior: MomentPrior | None

    def __init__(
        self,
        model_size: int,
        *,
        prior: float | Sequence[float] | str | MomentPrior | None = None,
        head: nn.Module | None = None,
        scale: float = 30.0,
        estimator: str | Estimator = "exact",
        kl: str = "dirichlet",
    ) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise ValueError(f"scale is {scale}; concentrations need a finite scale above zero.")
        if kl not in KLS:
            raise ValueError(f"no kl is called {kl!r}; use one of {', '.join(KLS)}.")
        self.model_size = model_size
        self.scale = scale
        self.kl_name = kl
        self.estimator = find_estimator(estimator)
        if prior == "learned":
            prior = MomentPrior(model_size)
        self.moment_prior = prior if isinstance(prior, MomentPrior) else None
        if not isinstance(prior, MomentPrior):
            self.register_buffer("prior_concentration", prior_concentration(prior, model_size))
        elif len(prior.concentration) != model_size:
            raise ValueError(
                f"the learned prior has {len(prior.concentration)} components; model_size is {model_size}."
            )
        self.head = head if head is not None else make_concentration_head(model_size, scale)

    @property
    def prior(self) -> DirichletPrior:
        """The Dirichlet prior as it is now."""
        if self.moment_prior is not None:
            return DirichletPrior(self.moment_prior.concentration.clone())
        return DirichletPrior(self.prior_concentration)

    def posterior(self, features: Tensor) -> DirichletPosterior:
        """Dirichlet read from `features` (batch, K, *grid): concentrations within [1e-3, 1e4], float32.

        In training mode a learned prior takes in what it sees here.
        """
        with torch.autocast(features.device.type, enabled=False):
            concentration = read_concentration(self.head, features, self.scale, model_size=self.model_size)
            posterior = DirichletPosterior(concentration, self.estimator)
            if self.training and self.moment_prior is not None:
                seen = wide(concentration.detach())
                self.moment_prior.update(seen / seen.sum(1, keepdim=True), dirichlet_mean_square(seen))
            return posterior

    def kl(self, posterior: Posterior) -> Tensor:
        """KL divergence from the prior in nats, summed over the grid: (batch,) float32."""
        concentration = posterior.parameters["concentration"]
        return KLS[self.kl_name](concentration, along_components(self.prior.concentration, concentration))

    def weighted_draw(self, posterior: Posterior, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        if isinstance(posterior, DirichletPosterior):  # the weight is that of a Dirichlet, so must the draw be
            posterior = replace(posterior, estimator=exact_log_gamma)
        return super().weighted_draw(posterior, generator)


def read_concentration(head: nn.Module, features: Tensor, scale: float, *, model_size: int) -> Tensor:
    """scale · softplus(head(features)) within [1e-3, 1e4], float32: half precisions cannot hold small ones.

    Raises ValueError for a head that makes anything but (batch, model_size, *grid).
    """
    raw = head(at_least_float32(features))
    due = (features.shape[0], model_size, *features.shape[2:])
    if raw.shape != due:
        raise ValueError(
            f"the concentration head made {tuple(raw.shape)} of features {tuple(features.shape)}; it must make {due}, "
            "each component's own concentration."
        )
    concentration = scale * F.softplus(raw) + MIN_CONCENTRATION
    return concentration.clamp(max=MAX_CONCENTRATION)


def widened_concentration(concentration: Tensor, width: float) -> Tensor:
    """Concentrations divided by `width`, elementwise; one that would fall below 1e-3 stops there."""
    return torch.maximum(concentration / width, concentration.clamp(max=MIN_CONCENTRATION))


def make_concentration_head(model_size: int, scale: float) -> Dense:
    """A dense layer whose outputs start around the softplus⁻¹ of 30 / scale."""
    head = Dense(model_size, model_size)
    start = INITIAL_CONCENTRATION / scale
    nn.init.constant_(head.bias, start + math.log(-math.expm1(-start)))
    return head
