"""Latents on the simplex by breaking a stick: each component takes a Kumaraswamy share of what is left."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dirvae.float64 import narrow, wide
from dirvae.latents.cells import limit_at_zero, sum_over_cells
from dirvae.latents.dense import Dense, at_least_float32
from dirvae.latents.dirichlet_prior import check_prior
from dirvae.latents.kumaraswamy import (
    beta_log_prob,
    kumaraswamy_kl_from_beta,
    kumaraswamy_log_prob,
    log_complement,
    log_kumaraswamy_moment,
    log_kumaraswamy_rsample,
)
from dirvae.latents.latent import Posterior, SimplexLatent

__all__ = [
    "StickBreaking",
    "StickBreakingPosterior",
    "StickBreakingPrior",
    "log_shares_to_breaks",
    "log_sticks_to_shares",
    "order_at_zero",
]

MIN_PARAMETER = 1e-3
MAX_PARAMETER = 1e4
LOG_OF_ZERO = -1e8
"""Stands for log 0 where a density has a limit there: v^a has died even at the smallest a."""


def log_sticks_to_shares(log_v: Tensor, log_rest: Tensor) -> Tensor:
    """z_k = v_k Π_{j<k} (1 - v_j), in logs: log v and log(1 - v), (batch, K - 1, *grid) each → (batch, K, *grid)."""
    left = log_rest.cumsum(1)
    start = torch.zeros_like(left[:, :1])
    return torch.cat([log_v, start], dim=1) + torch.cat([start, left], dim=1)


def log_shares_to_breaks(log_z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Undo `log_sticks_to_shares`: (batch, K, *grid) → log v, log(1 - v), log of what was left, K - 1 components each.

    The density of z is that of v over the product of what was left. Of v and 1 - v the smaller one comes from the
    shares, the larger one from it.
    """
    left = log_z.flip(1).logcumsumexp(1).flip(1)
    log_left = left[:, :-1]
    log_v, log_rest = log_z[:, :-1] - log_left, (left[:, 1:] - log_left).clamp(max=0)
    is_most = log_rest < -math.log(2)
    log_v = torch.where(is_most, log_complement(torch.where(is_most, log_rest, -1.0)), log_v)
    return log_v, log_rest, log_left


def order_at_zero(log_z: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The power of ε that the density of the shares holds when those that are 0 are ε: (batch, *grid).

    A break that takes nothing goes like v^(a - 1), one that takes all there is like (1 - v)^(b - 1); those after it
    share ε evenly, each over the ε that was left.
    """
    is_zero = log_z.isneginf()
    is_past = is_zero.flip(1).long().cumprod(1).flip(1).bool()  # nothing from here on
    orders = torch.where(is_zero[:, :-1], a - 1, 0.0)
    orders = torch.where(is_past[:, 1:], b - 1, orders)
    return torch.where(is_past[:, :-1], -1.0, orders).sum(1)


@dataclass(frozen=True, eq=False)
class StickBreakingPosterior:
    """K - 1 independent Kumaraswamy breaks: `a` and `b`, each (batch, K - 1, *grid) float32, above zero."""

    a: Tensor
    b: Tensor

    @property
    def parameters(self) -> dict[str, Tensor]:
        """a and b by name."""
        return {"a": self.a, "b": self.b}

    @property
    def mean(self) -> Tensor:
        """Expected point of the simplex: (batch, K, *grid), sums to 1 over axis 1; the breaks are independent."""
        log_v = log_kumaraswamy_moment(wide(self.a), wide(self.b))
        return narrow(log_sticks_to_shares(log_v, log_complement(log_v)).exp(), self.a)

    def widened(self, width: float) -> StickBreakingPosterior:
        """Breaks v of the same median and √width times the spread of log v, as long as a and b are within [1e-3, 1e4].

        a over √width, and the b that keeps the median, 1 - 2^(-1/b) = median^a. Of small breaks, the variance of v
        itself grows by more.
        """
        a, b, factor = wide(self.a), wide(self.b), math.sqrt(width)
        log_power = log_complement(-math.log(2) / b) / factor
        wider = a / factor, -math.log(2) / log_complement(log_power)
        return StickBreakingPosterior(
            *(narrow(value.clamp(MIN_PARAMETER, MAX_PARAMETER), self.a) for value in wider)
        )

    def log_rsample(self, generator: Generator | None = None) -> Tensor:
        """Log of one differentiable draw: (batch, K, *grid), finite even where the draw underflows to 0."""
        log_v, log_rest = log_kumaraswamy_rsample(self.a, self.b, generator)
        return narrow(log_sticks_to_shares(log_v, log_rest), self.a)

    def rsample(self, generator: Generator | None = None) -> Tensor:
        """One differentiable draw: (batch, K, *grid), sums to 1 over axis 1."""
        return self.log_rsample(generator).exp()

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density at `z` (batch, K, *grid) in nats, summed over the grid: (batch,), in the dtype of `z`.

        With respect to the first K - 1 components.
        """
        return narrow(self.log_prob_of_log(wide(z).log()), z)

    def log_prob_of_log(self, log_z: Tensor) -> Tensor:
        """Log density at exp(`log_z`): what `log_prob` gives, also where z itself underflows to 0."""
        a, b, log_share = wide(self.a), wide(self.b), wide(log_z)
        log_v, log_rest, log_left = log_shares_to_breaks(log_share.clamp(min=LOG_OF_ZERO))
        breaks = kumaraswamy_log_prob(log_v, log_rest, a, b) - log_left
        cells = breaks.sum(1) + limit_at_zero(order_at_zero(log_share, a, b))
        return narrow(sum_over_cells(cells), log_z)

    def __repr__(self) -> str:
        return f"StickBreakingPosterior(a={tuple(self.a.shape)})"


@dataclass(frozen=True, eq=False)
class StickBreakingPrior:
    """A truncated stick-breaking process: every break Beta(1, b), with `b` (K - 1,) float32, above zero."""

    b: Tensor

    @property
    def mean(self) -> Tensor:
        """Expected share of each component: (K,), sums to 1."""
        return self._mean().to(self.b.dtype).to(self.b.device)

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of each component: (K,)."""
        b = wide(self.b)
        mean_square = self._over_breaks(2 / ((1 + b) * (2 + b)), b / (2 + b))  # E v², E (1 - v)²
        stddev = (mean_square - self._mean().square()).clamp(min=0).sqrt()
        return stddev.to(self.b.dtype).to(self.b.device)

    def over(self, num: int, *grid: int) -> StickBreakingPosterior:
        """The prior as a distribution over `num` examples on a grid: Beta(1, b) is Kumaraswamy(1, b)."""
        b = self.b.view(1, -1, *(1,) * len(grid)).expand(num, len(self.b), *grid)
        return StickBreakingPosterior(torch.ones_like(b), b)

    @torch.no_grad()
    def sample(self, num: int, *grid: int, generator: Generator | None = None) -> Tensor:
        """`num` draws over a grid: (num, K, *grid), sums to 1 over axis 1."""
        return self.over(num, *grid).rsample(generator)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of `z` (batch, K, *grid) in nats, summed over the grid: (batch,), in the dtype of `z`."""
        return narrow(self.log_prob_of_log(wide(z).log()), z)

    def log_prob_of_log(self, log_z: Tensor) -> Tensor:
        """Log density of exp(`log_z`), also where that underflows to 0."""
        log_share = wide(log_z)
        log_v, log_rest, log_left = log_shares_to_breaks(log_share.clamp(min=LOG_OF_ZERO))
        b = wide(self.b).view(1, -1, *(1,) * (log_z.dim() - 2))
        a = torch.ones_like(b)
        breaks = beta_log_prob(log_v, log_rest, a, b) - log_left
        cells = breaks.sum(1) + limit_at_zero(order_at_zero(log_share, a, b))
        return narrow(sum_over_cells(cells), log_z)

    def _mean(self) -> Tensor:
        v = 1 / (1 + wide(self.b))
        return self._over_breaks(v, 1 - v)

    def _over_breaks(self, of_v: Tensor, of_rest: Tensor) -> Tensor:
        return log_sticks_to_shares(of_v.log()[None], of_rest.log()[None])[0].exp()


class StickBreaking(SimplexLatent):
    """Stick-breaking latent (Nalisnick and Smyth 2017, arXiv 1605.06197), Kumaraswamy breaks against Beta(1, prior).

    `prior`: the concentration of the stick-breaking process; the larger, the more components share the stick.
    `a_head`, `b_head`: features (batch, K, *grid) → (batch, K - 1, *grid); softplus makes them positive. Unless
    given, dense layers per cell that start around the prior, a = 1 and b = `prior`.
    Raises ValueError for a size below 2 and a prior outside [1e-6, 1e6].
    """

    prior_b: Tensor

    def __init__(
        self,
        model_size: int,
        *,
        prior: float = 5.0,
        a_head: nn.Module | None = None,
        b_head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if model_size < 2:
            raise ValueError(f"model_size is {model_size}; a simplex has at least 2 components.")
        check_prior(prior, prior)
        self.model_size = model_size
        self.register_buffer("prior_b", torch.full((model_size - 1,), float(prior)))
        self.a_head = a_head if a_head is not None else _head(model_size, 1.0)
        self.b_head = b_head if b_head is not None else _head(model_size, prior)

    @property
    def prior(self) -> StickBreakingPrior:
        """The truncated stick-breaking process."""
        return StickBreakingPrior(self.prior_b)

    def posterior(self, features: Tensor) -> StickBreakingPosterior:
        """Breaks read from `features` (batch, K, *grid): a and b within [1e-3, 1e4], float32."""
        with torch.autocast(features.device.type, enabled=False):
            a, b = (
                F.softplus(head(at_least_float32(features))) + MIN_PARAMETER for head in (self.a_head, self.b_head)
            )
            return StickBreakingPosterior(a.clamp(max=MAX_PARAMETER), b.clamp(max=MAX_PARAMETER))

    def kl(self, posterior: Posterior) -> Tensor:
        """KL divergence from the prior in nats, summed over breaks and grid: (batch,) float32."""
        of_a, of_b = (posterior.parameters[name] for name in ("a", "b"))
        a, b = wide(of_a), wide(of_b)
        prior_b = wide(self.prior_b).view(1, -1, *(1,) * (a.dim() - 2)).expand_as(b)
        breaks = kumaraswamy_kl_from_beta(a, b, torch.ones_like(b), prior_b)
        return sum_over_cells(breaks.sum(1)).float().to(of_a.device)


def _head(model_size: int, start: float) -> Dense:
    head = Dense(model_size, model_size - 1)
    nn.init.constant_(head.bias, start + math.log(-math.expm1(-start)))
    return head
