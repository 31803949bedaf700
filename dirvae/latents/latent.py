"""What a latent is: heads that read features, the posterior they give, and the prior it is held against."""

from __future__ import annotations

from typing import Protocol

from torch import Generator, Tensor, nn

__all__ = ["Latent", "Posterior", "Prior"]


class Posterior(Protocol):
    """What the encoder believes about each example: one distribution an example and grid cell.

    Component k of the latent lies on axis 1, grid axes after it; everything is float32.
    """

    @property
    def mean(self) -> Tensor:
        """Expected latent: (batch, model_size, *grid)."""
        ...

    @property
    def parameters(self) -> dict[str, Tensor]:
        """What defines the distribution, by name, each (batch, model_size, *grid)."""
        ...

    def rsample(self, generator: Generator | None = None) -> Tensor:
        """One differentiable draw: (batch, model_size, *grid)."""
        ...

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of `z` in nats, summed over the grid: (batch,)."""
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
        """Log density of `z` (batch, model_size, *grid) in nats, summed over the grid: (batch,)."""
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
