"""A prior that is fitted to the posteriors after training: a mixture of normals, on the simplex of log-ratios.

Where the aggregate posterior is far from the prior, draws of the prior decode to nothing that the data holds. A prior
fitted to draws of the posteriors covers what the decoder has seen. It changes neither the model nor its bound.

On the simplex the normals are those of isometric log-ratios y = V log z, V (K - 1, K) with orthonormal rows that sum to
0 (Egozcue et al. 2003, "Isometric logratio transformations for compositional data analysis"); with respect to the first
K - 1 shares the density is that of y over √K Π z.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from dirvae.float64 import narrow
from dirvae.latents.cells import sum_over_cells
from dirvae.latents.gaussian_mixture import GaussianMixture, fit_gaussian_mixture
from dirvae.metrics import is_simplex

__all__ = ["FittedPrior", "fit_prior_to", "log_ratios", "shares_of"]

LOWEST_SHARE = 1e-6
"""Smaller shares count as this one: no decoder tells them apart."""
NUM_FOR_MOMENTS = 10_000
MOST_ROWS = 8192
"""More rows than this are thinned evenly before the fit."""


@dataclass(frozen=True, eq=False)
class FittedPrior:
    """A prior of latents: a mixture over their log-ratios if they are shares, or over the latents themselves.

    `mean` and `stddev`, (model_size,) each, are those of the latents.
    """

    mixture: GaussianMixture
    on_simplex: bool
    mean: Tensor
    stddev: Tensor

    def sample(self, num: int, *grid: int, generator: Generator | None = None) -> Tensor:
        """`num` draws over a grid, each cell by itself: (num, model_size, *grid) float32 on the CPU."""
        points = self.mixture.sample(num * math.prod(grid), generator)
        rows = shares_of(points) if self.on_simplex else points
        return rows.float().view(num, *grid, -1).movedim(-1, 1).contiguous()

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of `z` (batch, model_size, *grid) in nats, summed over the grid: (batch,), on the CPU."""
        rows = z.detach().cpu().double().movedim(1, -1)
        flat = rows.reshape(-1, rows.shape[-1])
        if self.on_simplex:
            logs = flat.clamp(min=LOWEST_SHARE).log()
            found = self.mixture.log_prob(log_ratios(flat)) - logs.sum(1) - 0.5 * math.log(flat.shape[1])
        else:
            found = self.mixture.log_prob(flat)
        return narrow(sum_over_cells(found.view(rows.shape[:-1])), z.detach().cpu())

    def tensors(self) -> dict[str, Tensor]:
        """The prior as tensors, for `from_tensors`."""
        parts = {"weights": self.mixture.weights, "means": self.mixture.means, "factors": self.mixture.factors}
        moments = {"mean": self.mean, "stddev": self.stddev}
        found = {**parts, **moments, "on_simplex": torch.tensor(self.on_simplex)}
        return {name: value.contiguous() for name, value in found.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> FittedPrior:
        """The prior that `tensors()` was called on."""
        mixture = GaussianMixture(tensors["weights"], tensors["means"], tensors["factors"])
        return cls(mixture, bool(tensors["on_simplex"]), tensors["mean"], tensors["stddev"])


def fit_prior_to(latents: Tensor, *, num_parts: int, seed: int = 0) -> FittedPrior:
    """Fit a prior to draws of posteriors (num, model_size, *grid); every grid cell counts by itself.

    ValueError for fewer than two.
    """
    rows = latents.detach().cpu().double().movedim(1, -1).flatten(0, -2)
    rows = rows[:: -(-len(rows) // MOST_ROWS)]
    on_simplex = is_simplex(latents)
    mixture = fit_gaussian_mixture(log_ratios(rows) if on_simplex else rows, num_parts, seed=seed)
    drawn = mixture.sample(NUM_FOR_MOMENTS, Generator().manual_seed(seed))
    values = (shares_of(drawn) if on_simplex else drawn).float()
    return FittedPrior(mixture, on_simplex, values.mean(0), values.std(0))


def log_ratios(shares: Tensor) -> Tensor:
    """Isometric log-ratios of rows of shares: (num, K) → (num, K - 1)."""
    return shares.clamp(min=LOWEST_SHARE).log() @ _basis(shares.shape[1], shares).T


def shares_of(ratios: Tensor) -> Tensor:
    """The inverse of `log_ratios`: (num, K - 1) → (num, K), rows that sum to 1."""
    return (ratios @ _basis(ratios.shape[1] + 1, ratios)).softmax(1)


def _basis(size: int, like: Tensor) -> Tensor:
    """(K - 1, K) with orthonormal rows that sum to 0 (Helmert's): row k compares the first k shares with the next."""
    rows = torch.zeros(size - 1, size, dtype=like.dtype)
    for k in range(1, size):
        rows[k - 1, :k] = 1 / k
        rows[k - 1, k] = -1
        rows[k - 1] *= (k / (k + 1)) ** 0.5
    return rows
