"""Densities of latents on the simplex where a share is exactly 0: a limit, never inf - inf."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Generator, Tensor

from dirvae.latents import LATENTS, LogisticNormal, StickBreaking, make_latent
from dirvae.latents.dirichlet import DirichletPosterior
from dirvae.latents.stick_breaking import StickBreakingPosterior, StickBreakingPrior

SIMPLEX = sorted(set(LATENTS) - {"gaussian"})


@pytest.mark.parametrize("name", SIMPLEX)
@pytest.mark.parametrize("prior", [1e-3, 0.01, 0.1, 3.0])
def test_a_prior_of_draws_that_underflow_has_a_density_at_each(name: str, prior: float) -> None:
    law = make_latent(name, 8, prior=prior).prior
    torch.manual_seed(0)
    z = law.sample(1000)
    assert (z == 0).any() or prior > 1e-3
    assert not law.log_prob(z).isnan().any()


def test_sharp_logits_have_no_density_at_zero() -> None:
    posterior = LogisticNormal(8).posterior(torch.randn(1000, 8, generator=Generator().manual_seed(0)) * 40)
    z = posterior.rsample(Generator().manual_seed(1)).detach()
    assert torch.equal(posterior.log_prob(z).isneginf(), (z == 0).any(1))


def zeros_anywhere(size: int) -> Tensor:
    """Points of the simplex with every set of zero shares but all: (2^size - 1, size) float64."""
    sets = torch.tensor(list(itertools.product([True, False], repeat=size))[:-1])
    shares = torch.rand(len(sets), size, generator=Generator().manual_seed(0), dtype=torch.float64) * sets
    return shares / shares.sum(1, keepdim=True)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SIMPLEX)
def test_a_density_at_zero_is_where_it_goes_as_shares_fall_to_zero_together(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    latent = make_latent(name, 5)
    if hasattr(latent, "scale"):
        latent.scale = 1.0  # concentrations on both sides of 1
    posterior = latent.posterior(torch.randn(1, 5) - 1)
    z = zeros_anywhere(5)
    law = type(posterior)(*(value.expand(len(z), -1) for value in posterior.parameters.values()))
    near, nearer = (law.log_prob_of_log(z.log().clamp(min=floor)) for floor in (-1e6, -2e6))
    goes = torch.where((nearer - near).abs() < 1e-3, near, (nearer - near).sign() * math.inf)
    torch.testing.assert_close(law.log_prob(z), goes)


def test_breaks_of_a_uniform_stick_have_their_closed_density_at_zero() -> None:
    prior = StickBreakingPrior(torch.ones(2))  # the density is 1/(1 - z_0)
    z = torch.tensor([[0.0, 0.25, 0.75], [0.2, 0.0, 0.8], [0.2, 0.8, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    expected = torch.tensor([0.0, math.log(1.25), math.log(1.25), 0.0, math.inf])
    torch.testing.assert_close(prior.log_prob(z), expected)
    ones = torch.ones(5, 2)
    torch.testing.assert_close(StickBreakingPosterior(ones, ones).log_prob(z), expected)


def test_orders_that_meet_at_zero_are_added_up() -> None:
    z = torch.tensor([[0.0, 0.0, 1.0]])
    for first, second, expected in ((0.5, 3.0, -math.inf), (0.25, 1.5, math.inf)):
        assert DirichletPosterior(torch.tensor([[first, second, 1.0]])).log_prob(z).item() == expected
    assert DirichletPosterior(torch.tensor([[0.5, 1.5, 1.0]])).log_prob(z).isfinite().all()


def test_logs_of_draws_stay_finite() -> None:
    posterior = StickBreaking(8, prior=0.01).prior.over(1000)
    log_z = posterior.log_rsample(Generator().manual_seed(0))
    assert posterior.log_prob_of_log(log_z).isfinite().all()
