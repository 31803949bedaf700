"""Mixtures of normals with full covariances, fitted by expectation maximisation, in float64 on the CPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal

__all__ = ["GaussianMixture", "fit_gaussian_mixture"]

STEPS = 40
PULL = 0.1
"""Weight of all points' covariance in that of each part, in points per dimension."""
SMALLEST = 1e-6
"""Added to variances, as a share of the mean one."""


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """`weights` (part,) that sum to 1, `means` (part, dim), `factors` (part, dim, dim): lower, Σ = L Lᵀ; float64."""

    weights: Tensor
    means: Tensor
    factors: Tensor

    def log_prob(self, points: Tensor) -> Tensor:
        """Log density of points (num, dim): (num,)."""
        return self._of_parts(points).logsumexp(1)

    def sample(self, num: int, generator: Generator | None = None) -> Tensor:
        """`num` draws: (num, dim)."""
        part = torch.multinomial(self.weights, num, replacement=True, generator=generator)
        noise = torch.randn(num, self.means.shape[1], dtype=self.means.dtype, generator=generator)
        return self.means[part] + (self.factors[part] @ noise[:, :, None])[:, :, 0]

    def _of_parts(self, points: Tensor) -> Tensor:
        """Log of weight times density of each part: (num, part)."""
        parts = MultivariateNormal(self.means, scale_tril=self.factors, validate_args=False)
        found: Tensor = parts.log_prob(points[:, None]) + self.weights.log()  # type: ignore[no-untyped-call]
        return found


def fit_gaussian_mixture(points: Tensor, num_parts: int, *, seed: int = 0) -> GaussianMixture:
    """Fit a mixture of up to `num_parts` normals to points (num, dim) float64, from a seeded start.

    Each covariance is shrunk a little towards that of all points, so that it is positive definite even for a part of
    few points. There are fewer parts if there are fewer than two points for each. ValueError for fewer than two points.
    """
    num, dim = points.shape
    if num < 2:
        raise ValueError(f"{num} points were given; a mixture takes 2 or more.")
    num_parts = max(1, min(num_parts, num // 2))
    whole = _covariance(points, torch.ones(num, 1, dtype=points.dtype), points.mean(0)[None])[0]
    floor = SMALLEST * float(whole.diagonal().mean().clamp(min=1e-12))
    whole = whole + floor * torch.eye(dim, dtype=points.dtype)
    means = _far_apart(points, num_parts, Generator().manual_seed(seed))
    mixture = GaussianMixture(
        torch.full((num_parts,), 1 / num_parts, dtype=points.dtype),
        means,
        torch.linalg.cholesky(whole).expand(num_parts, dim, dim),
    )
    for _ in range(STEPS):
        shares = mixture._of_parts(points).softmax(1)
        counts = shares.sum(0)
        means = (shares.T @ points) / counts.clamp(min=1e-9)[:, None]
        own = _covariance(points, shares, means) * counts[:, None, None]
        pull = PULL * dim
        covariances = (own + pull * whole) / (counts + pull)[:, None, None]
        mixture = GaussianMixture((counts / num).clamp(min=1e-9), means, torch.linalg.cholesky(covariances))
    return mixture


def _covariance(points: Tensor, shares: Tensor, means: Tensor) -> Tensor:
    """Covariance of each part, points weighted by shares (num, part): (part, dim, dim)."""
    found = []
    for share, mean in zip(shares.T, means, strict=True):
        apart = points - mean
        found.append((share[:, None] * apart).T @ apart / share.sum().clamp(min=1e-9))
    return torch.stack(found)


def _far_apart(points: Tensor, num: int, generator: Generator) -> Tensor:
    """Points far from each other, as k-means++ chooses them: (num, dim)."""
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    distance = (points - points[chosen[0]]).square().sum(1)
    for _ in range(num - 1):
        chosen.append(int(torch.multinomial(distance.clamp(min=1e-12), 1, generator=generator)))
        distance = torch.minimum(distance, (points - points[chosen[-1]]).square().sum(1))
    return points[chosen]
