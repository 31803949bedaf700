"""Latents on the simplex: a Dirichlet posterior per grid cell against a fixed Dirichlet prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dirvae.latents.dense import Dense
from dirvae.latents.estimators import Estimator, exact_log_gamma, find_estimator
from dirvae.latents.latent import Latent, Posterior

__all__ = [
    "Dirichlet",
    "DirichletPosterior",
    "DirichletPrior",
    "dirichlet_kl",
    "dirichlet_log_prob",
    "log_dirichlet_rsample",
]

MIN_CONCENTRATION = 1e-3
MAX_CONCENTRATION = 1e4
INITIAL_CONCENTRATION = 30.0


def log_dirichlet_rsample(
    concentration: Tensor, *, estimator: Estimator = exact_log_gamma, generator: Generator | None = None
) -> Tensor:
    """Log of one differentiable Dirichlet draw, components on axis 1: same shape, every value finite.

    The gammas are normalised in logs, so a draw whose every component would underflow still has its
    winner; it never becomes the uniform vector.
    """
    with torch.autocast(concentration.device.type, enabled=False):
        return torch.log_softmax(estimator(concentration, generator), dim=1)


def dirichlet_log_prob(log_z: Tensor, concentration: Tensor) -> Tensor:
    """Log density in nats at z = exp(log_z), components on axis 1, grid axes summed: (batch,).

    With respect to the first K - 1 components, as in SciPy. Computed in float64, returned in the dtype of
    `concentration`: in float32 the lgamma terms cancel to nonsense from concentrations of about 1e3 on.
    """
    a, log_z = concentration.double(), log_z.double()
    powers = torch.where((a == 1) & log_z.isneginf(), 0.0, (a - 1) * log_z)  # 0 · log 0 is 0
    cells = torch.lgamma(a.sum(1)) + (powers - torch.lgamma(a)).sum(1)
    return _over_cells(cells).to(concentration.dtype)


def dirichlet_kl(concentration: Tensor, prior_concentration: Tensor) -> Tensor:
    """KL(Dir(concentration) ‖ Dir(prior_concentration)) in nats, components on axis 1, grid axes summed.

    `concentration` is (batch, K, *grid), the prior's broadcasts to it. Returns (batch,) in the dtype of
    `concentration`, computed in float64: at concentrations of 1e4 and K = 4096 float32 is off by tens of nats.
    """
    a = concentration.double()
    b = prior_concentration.double().expand_as(a)
    total_a, total_b = a.sum(1, keepdim=True), b.sum(1, keepdim=True)
    normaliser = torch.lgamma(total_a) - torch.lgamma(total_b)
    parts = torch.lgamma(b) - torch.lgamma(a) + (a - b) * (torch.digamma(a) - torch.digamma(total_a))
    cells = normaliser.squeeze(1) + parts.sum(1)
    return _over_cells(cells).to(concentration.dtype)


def _over_cells(cells: Tensor) -> Tensor:
    return cells.reshape(cells.shape[0], -1).sum(1)


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

    def log_rsample(self, generator: Generator | None = None) -> Tensor:
        """Log of one differentiable draw: (batch, K, *grid), finite even where the draw underflows to 0."""
        return log_dirichlet_rsample(self.concentration, estimator=self.estimator, generator=generator)

    def rsample(self, generator: Generator | None = None) -> Tensor:
        """One differentiable draw: (batch, K, *grid), sums to 1 over axis 1."""
        return self.log_rsample(generator).exp()

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density at `z` (batch, K, *grid) in nats, summed over the grid: (batch,)."""
        return self.log_prob_of_log(z.double().log())

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
        size = self.concentration.shape[0]
        ones = (1,) * len(grid)
        return DirichletPosterior(self.concentration.view(1, size, *ones).expand(num, size, *grid))

    @torch.no_grad()
    def sample(self, num: int, *grid: int, generator: Generator | None = None) -> Tensor:
        """`num` draws over a grid: (num, K, *grid), sums to 1 over axis 1."""
        return self.over(num, *grid).rsample(generator)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of `z` (batch, K, *grid) in nats, summed over the grid: (batch,)."""
        return self.over(z.shape[0], *z.shape[2:]).log_prob(z)


class Dirichlet(Latent):
    """Dirichlet latent of a Dirichlet VAE (Joo et al. 2019, arXiv 1901.02739), sampled exactly.

    `prior`: concentration of the prior, one number or one for each component; 1 - 1/K unless given.
    `head`: features (batch, K, *grid) → the same shape; a dense layer per cell unless given.
    `scale`: the posterior's concentration is scale · softplus(head). The paper has 1, where a first draw is
    almost all noise and concentrations move slowly; 30, and a default head that starts every concentration
    at 30, let the features through from the first step (measured in docs/log.md).
    `estimator`: "exact", "paper", or a function like those in `dirvae.latents.estimators`.
    Raises ValueError for a size below 2, a prior or scale that is not positive, an unknown estimator.
    """

    prior_concentration: Tensor

    def __init__(
        self,
        model_size: int,
        *,
        prior: float | Sequence[float] | None = None,
        head: nn.Module | None = None,
        scale: float = 30.0,
        estimator: str | Estimator = "exact",
    ) -> None:
        super().__init__()
        if model_size < 2:
            raise ValueError(f"model_size is {model_size}; a simplex has at least 2 components.")
        if not 0 < scale < math.inf:
            raise ValueError(f"scale is {scale}; concentrations need a finite scale above zero.")
        self.model_size = model_size
        self.scale = scale
        self.register_buffer("prior_concentration", _prior_concentration(prior, model_size))
        self.head = head if head is not None else _concentration_head(model_size, scale)
        self.estimator = find_estimator(estimator)

    @property
    def prior(self) -> DirichletPrior:
        """The fixed Dirichlet prior."""
        return DirichletPrior(self.prior_concentration)

    def posterior(self, features: Tensor) -> DirichletPosterior:
        """Dirichlet read from `features` (batch, K, *grid): concentrations within [1e-3, 1e4], float32.

        In float32 also inside autocast: half precisions cannot hold concentrations below 1.
        """
        with torch.autocast(features.device.type, enabled=False):
            concentration = self.scale * F.softplus(self.head(features.float())) + MIN_CONCENTRATION
            return DirichletPosterior(concentration.clamp(max=MAX_CONCENTRATION), self.estimator)

    def kl(self, posterior: Posterior) -> Tensor:
        """KL divergence from the prior in nats, summed over the grid: (batch,) float32."""
        concentration = posterior.parameters["concentration"]
        shape = (1, -1) + (1,) * (concentration.dim() - 2)
        return dirichlet_kl(concentration, self.prior_concentration.view(shape))


def _concentration_head(model_size: int, scale: float) -> Dense:
    """A dense layer whose outputs start around the softplus⁻¹ of `INITIAL_CONCENTRATION` / scale."""
    head = Dense(model_size, model_size)
    start = INITIAL_CONCENTRATION / scale
    nn.init.constant_(head.bias, start + math.log(-math.expm1(-start)))
    return head


def _prior_concentration(prior: float | Sequence[float] | None, model_size: int) -> Tensor:
    if prior is None:
        prior = 1 - 1 / model_size
    values = [float(prior)] * model_size if isinstance(prior, int | float) else [float(value) for value in prior]
    if len(values) != model_size:
        raise ValueError(
            f"the prior has {len(values)} concentrations; give one number, or one for each of the {model_size} "
            "components."
        )
    if not all(0 < value < math.inf for value in values):
        raise ValueError(f"the prior is {prior}; every concentration must be a finite number above zero.")
    return torch.tensor(values, dtype=torch.float32)
