"""What a latent is: heads that read features, the posterior they give, and the prior it is compared with."""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Generator, Tensor, nn

from dirvae.float64 import wide
from dirvae.metrics import active_units, components_in_use

__all__ = ["Latent", "Posterior", "Prior", "SimplexLatent", "SimplexPosterior", "SimplexPrior"]


class Posterior(Protocol):
    """What the encoder believes about each example: one distribution an example and grid cell.

    Component k of the latent lies on axis 1, grid axes after it; everything is float32. It may have one more method,
    `widened(width)`: a law of the same kind around the same place, as a proposal for importance sampling. `width`
    multiplies the variance of what it has one of: a normal's, or roughly that of the shares; 1 is the law itself.
    """

    @property
    def mean(self) -> Tensor:
        """Expected latent: (batch, model_size, *grid)."""
        ...

    @property
    def parameters(self) -> dict[str, Tensor]:
        """What defines the distribution, by name, each (batch, components, *grid)."""
        ...

    def rsample(self, generator: Generator | None = None) -> Tensor:
        """One differentiable draw: (batch, model_size, *grid)."""
        ...

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of `z` in nats, summed over the grid: (batch,), computed in float64, in the dtype of `z`."""
        ...


class Prior(Protocol):
    """What a latent looks like before any data is seen; the same for every grid cell."""

    @property
    def mean(self) -> Tensor:
        """Expected value of each component: (model_size,)."""
        ...

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of each component: (model_size,)."""
        ...

    def sample(self, num: int, *grid: int, generator: Generator | None = None) -> Tensor:
        """`num` draws over a grid: (num, model_size, *grid)."""
        ...

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of `z` (batch, model_size, *grid) in nats, summed over the grid: (batch,), as a posterior's."""
        ...


class SimplexPosterior(Posterior, Protocol):
    """A posterior of shares that sum to 1 over axis 1, at home in their logarithms: there no share is ever 0.

    A draw of a sharp one can hold shares that underflow to exactly 0. There `log_prob` is the limit of the density,
    +inf or -inf for most laws, and what stays finite is `log_prob_of_log` of `log_rsample`.
    """

    def log_rsample(self, generator: Generator | None = None) -> Tensor:
        """Log of one differentiable draw: (batch, model_size, *grid), finite even where the draw underflows."""
        ...

    def log_prob_of_log(self, log_z: Tensor) -> Tensor:
        """What `log_prob` gives at exp(`log_z`), also where that underflows to 0."""
        ...


class SimplexPrior(Prior, Protocol):
    """A prior of shares."""

    def log_prob_of_log(self, log_z: Tensor) -> Tensor:
        """What `log_prob` gives at exp(`log_z`), also where that underflows to 0."""
        ...


class Latent(nn.Module):
    """The plug-in between an encoder and a decoder: owns the heads and the prior.

    A new one is one more subclass: `posterior`, `prior` and `kl`.
    """

    model_size: int

    def posterior(self, features: Tensor) -> Posterior:
        """Distribution that the heads read from `features` (batch, model_size, *grid)."""
        raise NotImplementedError

    @property
    def prior(self) -> Prior:
        """The distribution latents are drawn from when no example is given."""
        raise NotImplementedError

    def kl(self, posterior: Posterior) -> Tensor:
        """KL divergence from the prior to `posterior` in nats, summed over the grid: (batch,)."""
        raise NotImplementedError

    def weighted_draw(self, posterior: Posterior, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """One draw z and its importance weight, log prior(z) - log posterior(z): what a sampled bound is made of.

        (batch, model_size, *grid) and (batch,) float64, differentiable; the weights' mean is -kl. Weights are on the
        CPU if the device has no float64.
        """
        z = posterior.rsample(generator)
        return z, self.prior.log_prob(wide(z)) - posterior.log_prob(wide(z))

    def components_in_use(self, latents: Tensor) -> Tensor:
        """Which components of `latents` (num, model_size, *grid), means of posteriors, tell anything: (K,) bool."""
        return active_units(latents)


class SimplexLatent(Latent):
    """A latent of shares that sum to 1 over axis 1; its densities are taken in logarithms.

    A weighted draw is normalised once more in float64: in float32 shares sum to 1 within 1e-7 or so, and a density
    multiplies that by the total concentration, which is 4e7 at K = 4096 and 1e4 each.
    """

    def weighted_draw(self, posterior: Posterior, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        on_simplex, prior = cast(SimplexPosterior, posterior), cast(SimplexPrior, self.prior)
        drawn = on_simplex.log_rsample(generator)
        log_z = torch.log_softmax(wide(drawn), dim=1)
        return drawn.exp(), prior.log_prob_of_log(log_z) - on_simplex.log_prob_of_log(log_z)

    def components_in_use(self, latents: Tensor) -> Tensor:
        return components_in_use(latents)
