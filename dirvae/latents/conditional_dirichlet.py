"""A Dirichlet latent with a conditional prior: the second of two levels, given the first."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from dirvae.float64 import wide
from dirvae.latents.dense import Standardise, at_least_float32
from dirvae.latents.dirichlet import (
    DirichletPosterior,
    DirichletPrior,
    make_concentration_head,
    read_concentration,
)
from dirvae.latents.dirichlet_density import dirichlet_kl
from dirvae.latents.dirichlet_prior import prior_concentration

__all__ = ["ConditionalDirichlet"]

SCALE = 30.0
LOWEST_LOG, HIGHEST_LOG = -5.0, 7.0
"""Bounds of the logarithm of a prior's concentration, which is from 0.007 to 1,100."""


class ConditionalDirichlet(nn.Module):
    """Dirichlets on a grid, each cell's with a prior of its own: Dir(exp(prior_head(condition))).

    `prior_head`: condition (batch, channel, *grid) → log concentrations (batch, model_size, *grid). A bias of
    `prior_start` starts it at the usual prior, 1 - 1/K.
    The posterior is that of `dirvae.latents.Dirichlet`. ValueError for a size below 2.
    """

    def __init__(self, model_size: int, *, prior_head: nn.Module) -> None:
        super().__init__()
        usual = DirichletPrior(prior_concentration(None, model_size))
        self.model_size = model_size
        self.head = make_concentration_head(model_size, SCALE)
        self.prior_head = prior_head
        self.standardise = Standardise(usual.mean, usual.stddev)

    @staticmethod
    def prior_start(model_size: int) -> float:
        """The log concentration of the usual prior."""
        return math.log(1 - 1 / model_size)

    def posterior(self, features: Tensor) -> DirichletPosterior:
        """Dirichlets read from `features` (batch, model_size, *grid), float32."""
        with torch.autocast(features.device.type, enabled=False):
            return DirichletPosterior(read_concentration(self.head, features, SCALE, model_size=self.model_size))

    def prior(self, condition: Tensor) -> DirichletPosterior:
        """The prior of each example and cell, given `condition` (batch, channel, *grid), float32."""
        with torch.autocast(condition.device.type, enabled=False):
            log_concentration = self.prior_head(at_least_float32(condition))
            return DirichletPosterior(log_concentration.clamp(LOWEST_LOG, HIGHEST_LOG).exp())

    def kl(self, posterior: DirichletPosterior, prior: DirichletPosterior) -> Tensor:
        """KL(posterior ‖ prior) in nats, summed over the grid: (batch,) float32, with gradients to both."""
        return dirichlet_kl(posterior.concentration, prior.concentration)

    def weighted_draw(
        self, posterior: DirichletPosterior, prior: DirichletPosterior, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """One draw m of the posterior and log prior(m) - log posterior(m), as `Latent.weighted_draw` gives them."""
        drawn = posterior.log_rsample(generator)
        log_m = torch.log_softmax(wide(drawn), dim=1)
        return drawn.exp(), prior.log_prob_of_log(log_m) - posterior.log_prob_of_log(log_m)
