"""What every latent must do, whichever it is: all of ours are held to the check that a user's own can be held to."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import gammaln
from torch import Generator, Tensor
from torch.nn.functional import softplus

from dirvae.latents import (
    LATENTS,
    Dirichlet,
    Gaussian,
    Latent,
    LogisticNormal,
    ScaledDirichlet,
    make_latent,
    named_latent,
)
from dirvae.latents.checking import assert_latent_keeps_its_promises
from dirvae.latents.dirichlet import DirichletPosterior
from dirvae.latents.gaussian import GaussianPosterior, GaussianPrior


def with_rates_apart() -> Latent:
    latent = ScaledDirichlet(5, prior=0.8)
    torch.nn.init.orthogonal_(latent.rate_head.weight, gain=2.0)
    return latent


MAKERS: dict[str, Callable[[], Latent]] = {
    **{name: lambda name=name: make_latent(name, 6) for name in LATENTS},
    "dirichlet, lopsided prior": lambda: Dirichlet(4, prior=[0.3, 0.9, 2.0, 7.0]),
    "dirichlet, learned prior": lambda: Dirichlet(6, prior="learned"),
    "dirichlet, two components": lambda: Dirichlet(2),
    "logistic-normal, lopsided prior": lambda: LogisticNormal(4, prior=[0.3, 0.9, 2.0, 7.0]),
    "logistic-normal, two components": lambda: LogisticNormal(2),
    "scaled-dirichlet, rates apart": with_rates_apart,
    "stick-breaking, two components": lambda: make_latent("stick-breaking", 2, prior=0.7),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_latent_keeps_its_promises(name: str) -> None:
    assert_latent_keeps_its_promises(MAKERS[name])


class _WrongKl(Gaussian):
    def kl(self, posterior):
        return super().kl(posterior) * 1.1


class _Narrowed(GaussianPosterior):
    def widened(self, width):
        return super().widened(1 / width)


class _WrongWidth(Gaussian):
    def posterior(self, features):
        return _Narrowed(**super().posterior(features).parameters)


class _WrongMean(Gaussian):
    def posterior(self, features: Tensor) -> GaussianPosterior:
        posterior = super().posterior(features)

        class Off(GaussianPosterior):
            def rsample(self, generator: Generator | None = None) -> Tensor:
                return super().rsample(generator) + 0.1 * self.scale

        return Off(posterior.mean, posterior.scale)


class _MixedCells(Gaussian):
    def posterior(self, features: Tensor) -> GaussianPosterior:
        return super().posterior(features + features.flatten(1).mean(1).view(-1, *(1,) * (features.dim() - 1)))


class _DoubleShape(Gaussian):
    def kl(self, posterior):
        return super().kl(posterior).double()


class _DeadHead(Gaussian):
    def posterior(self, features: Tensor) -> GaussianPosterior:
        posterior = super().posterior(features)
        return GaussianPosterior(posterior.mean, posterior.scale.detach())


class _ForgottenState(Gaussian):
    def __init__(self) -> None:
        super().__init__(6)
        self.shift = torch.randn(6)

    def posterior(self, features: Tensor) -> GaussianPosterior:
        posterior = super().posterior(features)
        shift = self.shift.view(1, -1, *(1,) * (features.dim() - 2))
        return GaussianPosterior(posterior.mean + shift, posterior.scale)


class _PriorLeftBehind(Gaussian):
    def __init__(self) -> None:
        super().__init__(6)
        self.law = GaussianPrior(torch.zeros(6), torch.ones(6))

    @property
    def prior(self) -> GaussianPrior:
        return self.law


class _HalfInAutocast(Gaussian):
    def posterior(self, features: Tensor) -> GaussianPosterior:
        return GaussianPosterior(self.mean_head(features), softplus(self.scale_head(features)) + 1e-4)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (_PriorLeftBehind, "prior's mean does not move"),
        (lambda: _HalfInAutocast(6), "is torch.bfloat16 inside autocast"),
        (lambda: _WrongKl(6), "kl is"),
        (lambda: _WrongWidth(6), "densities of the widened posterior|no wider"),
        (lambda: _WrongMean(6), "kl is|mean of draws is off"),
        (lambda: _MixedCells(6), "not close"),
        (lambda: _DoubleShape(6), "kl is torch.float64"),
        (lambda: _DeadHead(6), "gives scale_head.weight no gradient|gives scale_head.weight a gradient of zero"),
        (_ForgottenState, "not restored"),
    ],
)
def test_a_broken_latent_is_caught_and_the_fault_is_named(make: Callable[[], Latent], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        assert_latent_keeps_its_promises(make)


def test_weights_of_draws_have_the_mean_minus_kl_even_where_shares_underflow() -> None:
    latent = Dirichlet(8, prior=0.05)
    posterior = latent.posterior(torch.full((20_000, 8), -40.0) * torch.eye(8)[:1])
    z, weight = latent.weighted_draw(posterior, Generator().manual_seed(0))
    assert (z == 0).any()
    assert weight.isfinite().all()
    assert abs(weight.mean() + latent.kl(posterior)[0]) < 5 * weight.std() / 20_000**0.5


def test_weights_of_sharp_posteriors_of_many_components_are_those_of_shares_that_sum_to_one() -> None:
    latent = Dirichlet(4096)
    posterior = DirichletPosterior(torch.full((40, 4096), 1e4))
    _, weight = latent.weighted_draw(posterior, Generator().manual_seed(0))
    shares = posterior.rsample(Generator().manual_seed(0)).double().numpy()
    shares /= shares.sum(1, keepdims=True)
    a, b = np.full(4096, 1e4), latent.prior.concentration.double().numpy()
    normaliser = (gammaln(b.sum()) - gammaln(b).sum()) - (gammaln(a.sum()) - gammaln(a).sum())
    expected = normaliser + ((b - a) * np.log(shares)).sum(1)
    np.testing.assert_allclose(weight, expected, atol=0.02)


def test_components_in_use_are_judged_as_shares_on_the_simplex_and_as_units_elsewhere() -> None:
    shares = torch.tensor([[0.57, 0.43, 0.0], [0.43, 0.57, 0.0]]).repeat(10, 1)
    assert Dirichlet(3).components_in_use(shares).tolist() == [True, True, False]
    means = torch.tensor([[-2.0, 0.5, 1.0], [2.0, 0.5, 1.0]]).repeat(10, 1)
    assert Gaussian(3).components_in_use(means).tolist() == [True, False, False]


def test_options_reach_a_latent_made_by_name() -> None:
    latent = make_latent("dirichlet", 4, prior=2.0, estimator="paper")
    assert latent.prior.concentration.tolist() == [2.0] * 4
    assert latent.estimator.__name__ == "paper_log_gamma"


def test_a_named_latent_takes_a_prior_or_keeps_its_own() -> None:
    assert named_latent("scaled-dirichlet", 4, 3.0).prior.concentration.tolist() == [3.0] * 4
    assert named_latent("scaled-dirichlet", 4).prior.concentration.tolist() == [0.75] * 4
    assert named_latent("dirichlet", 4, "learned").moment_prior is not None
    made = Dirichlet(4, prior=2.0)
    assert named_latent(made, 4) is made


@pytest.mark.parametrize(
    ("latent", "prior", "complaint"),
    [
        ("gaussian", 3.0, "prior is 3.0, but a gaussian latent's is the standard normal; leave it out"),
        ("scaled-dirichlet", "learned", "'learned', but that of a scaled-dirichlet latent is a number"),
        ("stick-breaking", [1.0, 2.0, 3.0, 4.0], "one number for all its breaks"),
        (Dirichlet(4), 3.0, "a latent that is made already"),
    ],
)
def test_a_prior_that_a_latent_cannot_have_is_refused(latent: str | Latent, prior: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        named_latent(latent, 4, prior)


SIMPLEX = sorted(set(LATENTS) - {"gaussian"})


@pytest.mark.parametrize("name", SIMPLEX)
@pytest.mark.parametrize("prior", [0.0, -1.0, 1e-50, 1e-7, 1e7, 1e39, math.inf, math.nan])
def test_a_prior_too_small_or_too_large_is_refused_with_the_limits(name: str, prior: float) -> None:
    with pytest.raises(ValueError, match=re.escape(f"the prior is {prior};") + ".* from 1e-06 to 1e.06"):
        make_latent(name, 4, prior=prior)


@pytest.mark.parametrize("name", SIMPLEX)
@pytest.mark.parametrize("prior", [1e-6, 1e6])
@pytest.mark.parametrize("size", [2, 300])
def test_at_the_limits_of_a_prior_everything_is_finite(name: str, prior: float, size: int) -> None:
    latent = make_latent(name, size, prior=prior)
    posterior = latent.posterior(torch.randn(20, size, generator=Generator().manual_seed(0)))
    _, weight = latent.weighted_draw(posterior, Generator().manual_seed(1))
    kl = latent.kl(posterior)
    kl.sum().backward()
    for value in (kl, weight, latent.prior.mean, latent.prior.stddev, *(part.grad for part in latent.parameters())):
        assert value.isfinite().all()
    assert (kl > 0).all()


def test_an_unknown_latent_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ValueError, match="'gamma'; use one of dirichlet, gaussian, logistic-normal"):
        make_latent("gamma", 4)


def _dirichlet(head: torch.nn.Module) -> Latent:
    return Dirichlet(4, head=head)


def _scaled(head: torch.nn.Module) -> Latent:
    return ScaledDirichlet(4, concentration_head=head)


@pytest.mark.parametrize("make", [_dirichlet, _scaled])
@pytest.mark.parametrize("num", [1, 3])
def test_a_concentration_head_of_another_shape_is_refused_by_name(
    make: Callable[[torch.nn.Module], Latent], num: int
) -> None:
    with pytest.raises(
        ValueError, match=rf"concentration head made \(2, {num}\) of features \(2, 4\); it must make"
    ):
        make(torch.nn.Linear(4, num)).posterior(torch.randn(2, 4))
