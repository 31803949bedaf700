"""The scaled Dirichlet: its density, mean and divergence against quadrature, draws and the gammas it is made of."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from torch import Generator, nn

from dirvae.latents import ScaledDirichlet
from dirvae.latents.dirichlet import DirichletPosterior
from dirvae.latents.dirichlet_density import dirichlet_kl, multigamma_kl
from dirvae.latents.scaled_density import (
    scaled_dirichlet_jensen_kl,
    scaled_dirichlet_kl,
    scaled_dirichlet_log_prob,
    scaled_dirichlet_mean,
    scaled_multigamma_kl,
)
from dirvae.latents.scaled_dirichlet import ScaledDirichletPosterior

PRIOR = np.array([0.5, 2.0])
PAIRS = [(0.01, 0.02), (0.05, 2.0), (0.5, 0.5), (3.0, 7.0), (50.0, 800.0), (800.0, 50.0), (1e4, 9e3), (1e4, 1e-3)]
SPREADS = [0.0, 0.3, 3.0, 13.8]  # of the two log rates


def some(shape: tuple[int, ...], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Concentrations, log rates and prior concentrations (K,) in float64."""
    rng = np.random.default_rng(seed)
    a, log_b = 10 ** rng.uniform(-1.5, 2, shape), rng.normal(0, 1.5, shape)
    return torch.from_numpy(a), torch.from_numpy(log_b), torch.from_numpy(rng.uniform(0.3, 3, shape[1]))


class Pair:
    """Two components by one-dimensional quadrature over s = log(z_0/z_1), from the ratio of two gammas alone.

    With x_k ~ Gamma(a_k, b_k), u = b_0 x_0 / (b_0 x_0 + b_1 x_1) is Beta(a_0, a_1), and s = logit u - log b_0/b_1.
    """

    def __init__(self, a: tuple[float, float], log_b: tuple[float, float]) -> None:
        self.a, self.shift = a, log_b[0] - log_b[1]
        self.center = special.digamma(a[0]) - special.digamma(a[1]) - self.shift
        self.width = math.sqrt(special.polygamma(1, a[0]) + special.polygamma(1, a[1]))

    def log_density(self, s: float) -> float:
        """Of s."""
        logit = s + self.shift
        return (
            self.a[0] * special.log_expit(logit) + self.a[1] * special.log_expit(-logit) - special.betaln(*self.a)
        )

    def mean(self, function) -> float:
        """E function(s)."""
        steps = np.array([60, 30, 15, 8, 4, 2, 1])
        edges = self.center + self.width * np.concatenate([-steps, [0], steps[::-1]])
        parts = [
            integrate.quad(lambda s: math.exp(self.log_density(s)) * function(s), *pair, epsrel=1e-11, limit=400)[0]
            for pair in itertools.pairwise(edges)
        ]
        return math.fsum(parts)

    def kl(self) -> float:
        """From Beta(PRIOR) on the logit scale."""

        def log_prior(s: float) -> float:
            return PRIOR[0] * special.log_expit(s) + PRIOR[1] * special.log_expit(-s) - special.betaln(*PRIOR)

        return self.mean(lambda s: self.log_density(s) - log_prior(s))


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("a", PAIRS, ids=str)
def test_kl_and_mean_of_two_components_are_those_of_quadrature(a: tuple[float, float], spread: float) -> None:
    witness = Pair(a, (spread / 2, -spread / 2))
    concentration, log_rate = (
        torch.tensor([a], dtype=torch.float64),
        torch.tensor([[spread / 2, -spread / 2]]).double(),
    )
    expected = witness.kl()
    ours = scaled_dirichlet_kl(concentration, log_rate, torch.from_numpy(PRIOR)).item()
    assert ours == pytest.approx(expected, rel=1e-7, abs=1e-7)
    mean = scaled_dirichlet_mean(concentration, log_rate)[0, 0].item()
    assert mean == pytest.approx(witness.mean(special.expit), rel=1e-7, abs=1e-9)


def test_the_density_of_two_components_is_that_of_the_ratio_of_two_gammas() -> None:
    a, log_b = (0.7, 3.0), (1.2, -0.4)
    for s in (-6.0, -1.0, 0.3, 4.0):
        log_z = special.log_expit(np.array([s, -s]))
        ours = scaled_dirichlet_log_prob(torch.from_numpy(log_z)[None], torch.tensor([a]), torch.tensor([log_b]))
        assert ours.item() == pytest.approx(Pair(a, log_b).log_density(s) - log_z.sum(), rel=1e-6)


def test_the_density_integrates_to_one_over_three_components() -> None:
    a, log_b = torch.tensor([[1.5, 2.0, 3.5]]), torch.tensor([[1.0, -1.5, 0.5]])

    def density(y: float, x: float) -> float:
        z = torch.tensor([[x, y, max(1 - x - y, 1e-300)]], dtype=torch.float64)
        return math.exp(scaled_dirichlet_log_prob(z.log(), a, log_b).item())

    total, _ = integrate.dblquad(density, 0, 1, 0, lambda x: 1 - x, epsabs=1e-4)
    assert total == pytest.approx(1, abs=2e-4)


def test_draws_are_normalised_gammas_with_those_rates() -> None:
    a, b, num = np.array([0.3, 2.0, 8.0]), np.array([4.0, 0.5, 1.5]), 20_000
    posterior = ScaledDirichletPosterior(
        torch.from_numpy(a).float().expand(num, -1), torch.from_numpy(np.log(b)).float().expand(num, -1)
    )
    ours = posterior.rsample(Generator().manual_seed(0)).numpy()
    gammas = np.random.default_rng(1).gamma(a, 1 / b, (num, 3))
    theirs = gammas / gammas.sum(1, keepdims=True)
    for k in range(3):
        assert stats.ks_2samp(ours[:, k], theirs[:, k]).pvalue > 1e-4
    np.testing.assert_allclose(posterior.mean[0], theirs.mean(0), atol=5 * 0.5 / math.sqrt(num))


def test_equal_rates_give_the_dirichlet_whatever_they_are() -> None:
    a, _, prior = some((6, 9))
    log_b = torch.full_like(a, 5.0)
    witness = DirichletPosterior(a)
    z = witness.rsample(Generator().manual_seed(0))
    torch.testing.assert_close(scaled_dirichlet_log_prob(z.log(), a, log_b), witness.log_prob(z))
    torch.testing.assert_close(scaled_dirichlet_mean(a, log_b), witness.mean)
    expected = dirichlet_kl(a, prior)
    torch.testing.assert_close(scaled_dirichlet_kl(a, log_b, prior), expected)
    torch.testing.assert_close(scaled_dirichlet_jensen_kl(a, log_b, prior), expected)
    assert (scaled_multigamma_kl(a, log_b, prior) > expected).all()
    assert (scaled_multigamma_kl(a, log_b, prior) < multigamma_kl(a, prior) + 1e-9).all()


def test_a_common_factor_of_the_rates_changes_nothing() -> None:
    a, log_b, prior = some((4, 5, 2))
    prior = prior.view(1, -1, 1)
    log_z = torch.log_softmax(torch.randn(4, 5, 2, dtype=torch.float64), 1)
    for function, arguments in (
        (scaled_dirichlet_kl, (prior,)),
        (scaled_dirichlet_jensen_kl, (prior,)),
        (scaled_multigamma_kl, (prior,)),
        (scaled_dirichlet_mean, ()),
    ):
        torch.testing.assert_close(function(a, log_b + 7, *arguments), function(a, log_b, *arguments))
    shifted = scaled_dirichlet_log_prob(log_z, a, log_b + 7)
    torch.testing.assert_close(shifted, scaled_dirichlet_log_prob(log_z, a, log_b))


@pytest.mark.parametrize("size", [2, 7, 300])
def test_the_two_bounds_are_above_the_divergence_and_as_far_apart_as_derived(size: int) -> None:
    a, log_b, prior = some((30, size), seed=size)
    exact, jensen, multigamma = (
        function(a, log_b, prior)
        for function in (scaled_dirichlet_kl, scaled_dirichlet_jensen_kl, scaled_multigamma_kl)
    )
    assert (jensen >= exact - 1e-9).all()
    assert (jensen > exact + 1e-6).any()
    p, q = a.sum(1).numpy(), prior.sum().item()
    totals = special.gammaln(q) - special.gammaln(p) + (p - q) * special.digamma(p) - q * np.log(q / p) + q - p
    np.testing.assert_allclose(multigamma - jensen, totals, rtol=1e-8, atol=1e-8)


def test_the_multigamma_bound_is_a_sum_of_gamma_divergences_at_the_best_rate() -> None:
    a, log_b, prior = some((1, 6))
    gammas = torch.distributions.Gamma(a, log_b.exp())

    def at(rate: torch.Tensor) -> float:
        return torch.distributions.kl_divergence(gammas, torch.distributions.Gamma(prior, rate)).sum().item()

    best = prior.sum() / (a / log_b.exp()).sum()
    ours = scaled_multigamma_kl(a, log_b, prior).item()
    assert ours == pytest.approx(at(best), rel=1e-9)
    assert ours < min(at(best * 1.1), at(best / 1.1))


def test_the_divergence_is_the_mean_log_ratio_of_draws_from_many_components() -> None:
    a, log_b, prior = some((1, 60), seed=3)
    num = 100_000
    gammas = np.random.default_rng(4).gamma(a.numpy()[0], 1 / log_b.exp().numpy()[0], (num, 60))
    log_z = torch.from_numpy(np.log(np.maximum(gammas, 1e-300) / gammas.sum(1, keepdims=True)))
    prior_density = DirichletPosterior(prior.expand(num, -1)).log_prob_of_log(log_z)
    ratio = scaled_dirichlet_log_prob(log_z, a.expand(num, -1), log_b.expand(num, -1)) - prior_density
    error = ratio.std() / math.sqrt(num)
    assert abs(ratio.mean() - scaled_dirichlet_kl(a, log_b, prior)) < 5 * error


def test_gradients_of_divergence_and_mean_are_their_finite_differences() -> None:
    a, log_b, prior = some((3, 4))
    arguments = (a.requires_grad_(), log_b.requires_grad_())
    for function in (scaled_dirichlet_kl, scaled_dirichlet_jensen_kl, scaled_multigamma_kl):
        assert torch.autograd.gradcheck(lambda p, q, f=function: f(p, q, prior), arguments)
    assert torch.autograd.gradcheck(scaled_dirichlet_mean, arguments)


def test_gradients_of_draws_average_to_those_of_the_mean() -> None:
    a, log_b, num = [0.6, 2.0, 5.0], [0.8, -0.8, 0.0], 200_000
    points = [torch.tensor(value).expand(num, -1).clone().requires_grad_() for value in (a, log_b)]
    ScaledDirichletPosterior(*points).rsample(Generator().manual_seed(0))[:, 0].sum().backward()
    truth = [torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in (a, log_b)]
    scaled_dirichlet_mean(*truth)[0, 0].backward()
    for ours, theirs in zip(points, truth, strict=True):
        error = ours.grad.double().std(0) / math.sqrt(num)
        assert ((ours.grad.double().mean(0) - theirs.grad[0]).abs() < 5 * error).all()


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("kl", ["exact", "jensen", "multigamma"])
def test_values_and_gradients_are_finite_at_the_limits(alpha: float, kl: str) -> None:
    latent = ScaledDirichlet(512, kl=kl, concentration_head=nn.Identity(), rate_head=nn.Identity())
    concentration = torch.full((2, 512), alpha, requires_grad=True)
    log_rate = torch.linspace(-13.8, 13.8, 512).repeat(2, 1).requires_grad_()
    posterior = ScaledDirichletPosterior(concentration, log_rate)
    value = latent.kl(posterior)
    (value.sum() + posterior.mean.square().sum() + posterior.rsample().square().sum()).backward()
    assert value.isfinite().all()
    assert (value > 0).all()
    assert concentration.grad.isfinite().all()
    assert log_rate.grad.isfinite().all()


def test_an_untrained_latent_has_equal_rates_and_ratios_stay_below_a_million() -> None:
    latent = ScaledDirichlet(4)
    assert (latent.posterior(torch.randn(3, 4)).log_rate == 0).all()
    wild = ScaledDirichlet(4, rate_head=nn.Identity())
    log_rate = wild.posterior(torch.tensor([[1e6, -1e6, 0.0, 5.0]])).log_rate
    torch.testing.assert_close(log_rate.sum(1), torch.zeros(1), rtol=0, atol=1e-5)
    assert (log_rate.max() - log_rate.min()).item() == pytest.approx(math.log(1e6))


def test_a_rate_shared_by_all_components_is_refused_because_it_cancels() -> None:
    latent = ScaledDirichlet(4, rate_head=nn.Linear(4, 1))
    with pytest.raises(ValueError, match=r"\(3, 1\), but the concentrations are \(3, 4\).*a shared one cancels"):
        latent.posterior(torch.randn(3, 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": -1.0}, "scale is -1"),
        ({"kl": "dirichlet"}, "use one of exact, jensen, multigamma"),
        ({"prior": [1.0]}, "1 concentrations"),
        ({"prior": "learned"}, "give one number"),
    ],
)
def test_a_wrong_setting_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScaledDirichlet(4, **options)
