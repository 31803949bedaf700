"""Importance sampling, against models whose likelihood has a closed form or an integral that SciPy can take."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn

from dirvae import AutoEncoder, Dirichlet
from dirvae.evaluate import choose_width, estimate_likelihood
from dirvae.latents import LATENTS, Gaussian, make_latent
from dirvae.losses import BernoulliLikelihood, GaussianLikelihood, Likelihood, SquaredError

WEIGHTS = np.array([[0.8, -0.3], [0.2, 0.5], [-0.6, 0.1]])
SIGMA = 0.5


class Linear(nn.Linear):
    """A fixed linear map."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray | None = None) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias=bias is not None)
        with torch.no_grad():
            self.weight.copy_(torch.from_numpy(weight))
            if bias is not None:
                self.bias.copy_(torch.from_numpy(bias))


def linear_gaussian() -> AutoEncoder:
    """z ~ N(0, 1) in the plane, x = W z + noise: x ~ N(0, W Wᵀ + σ²), and a posterior that is only roughly right."""
    gain = np.linalg.solve(WEIGHTS.T @ WEIGHTS + SIGMA**2 * np.eye(2), WEIGHTS.T)
    latent = Gaussian(2, mean_head=nn.Identity(), scale_head=Linear(np.zeros((2, 2)), np.array([0.3, 0.5])))
    likelihood = GaussianLikelihood(scale=SIGMA, learned=False)
    return AutoEncoder(
        Linear(gain), Linear(WEIGHTS), 2, latent=latent, decode_head=nn.Identity(), likelihood=likelihood
    )


def data(num: int = 40) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(num, 3))).float()


def test_the_log_likelihood_of_a_linear_gaussian_model_is_the_closed_form() -> None:
    x = data()
    exact = stats.multivariate_normal(np.zeros(3), WEIGHTS @ WEIGHTS.T + SIGMA**2 * np.eye(3)).logpdf(x.numpy())
    estimate = estimate_likelihood(linear_gaussian(), x, samples=4000)
    np.testing.assert_allclose(estimate.log_likelihood, exact, atol=0.1)
    assert estimate.log_likelihood.mean().item() == pytest.approx(exact.mean(), abs=0.01)


def test_the_bound_is_reconstruction_and_closed_kl_and_lies_below() -> None:
    model, x = linear_gaussian(), data()
    estimate = estimate_likelihood(model, x, samples=4000)
    posterior = model.encode(x)
    torch.testing.assert_close(estimate.kl.float(), model.latent.kl(posterior), rtol=0.03, atol=0.05)
    mean, scale = posterior.mean.detach().numpy(), posterior.scale.detach().numpy()
    error = (x.numpy() - mean @ WEIGHTS.T) ** 2 + scale**2 @ (WEIGHTS.T**2)
    expected = (error / (2 * SIGMA**2) + math.log(SIGMA * math.sqrt(2 * math.pi))).sum(1)
    np.testing.assert_allclose(estimate.reconstruction, expected, rtol=0.03, atol=0.1)
    torch.testing.assert_close(estimate.bound, -estimate.reconstruction - estimate.kl)
    assert (estimate.bound < estimate.log_likelihood).all()


@pytest.mark.parametrize("estimator", ["exact", "paper"])
def test_a_dirichlet_model_is_integrated_as_quadrature_does_however_it_was_trained(estimator: str) -> None:
    """Two components: z ~ Beta(0.5, 0.5), x a coin of logit 6 z - 1. The paper's sampler must not be the proposal."""
    head = Linear(np.array([[0.05], [-0.02]]), np.array([-3.0, -3.5]))
    latent = Dirichlet(2, prior=0.5, head=head, estimator=estimator)
    decoder = Linear(np.array([[6.0, 0.0]]), np.array([-1.0]))
    model = AutoEncoder(
        nn.Identity(), decoder, 2, latent=latent, decode_head=nn.Identity(), likelihood="bernoulli", features_size=1
    )
    chance, _ = integrate.quad(
        lambda angle: 2 / math.pi / (1 + math.exp(1 - 6 * math.sin(angle) ** 2)), 0, math.pi / 2
    )  # z = sin² makes the density of Beta(1/2, 1/2) constant
    for side, expected in ((1.0, chance), (0.0, 1 - chance)):
        estimate = estimate_likelihood(model, torch.full((4000, 1), side), samples=50, rows=4000)
        assert estimate.log_likelihood.exp().mean().item() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("latent", sorted(LATENTS))
def test_any_latent_is_measured_and_tiny_concentrations_make_nothing_infinite(latent: str) -> None:
    torch.manual_seed(0)
    model = AutoEncoder(nn.Linear(3, 5), nn.Linear(5, 3), 5, latent=latent, likelihood="bernoulli")
    with torch.no_grad():
        for head in model.latent.children():
            if isinstance(head, nn.Linear):
                head.bias.fill_(-10)
    estimate = estimate_likelihood(model, data(6).sign().clamp(min=0), samples=50)
    for values in vars(estimate).values():
        assert values.shape == (6,)
        assert values.isfinite().all()
    assert (estimate.effective_samples >= 1 - 1e-9).all()
    assert (estimate.effective_samples <= 50 + 1e-9).all()


def test_effective_samples_are_all_where_the_posterior_is_the_truth() -> None:
    prior_only = AutoEncoder(
        nn.Identity(),
        Linear(np.zeros((3, 2))),
        2,
        latent=Gaussian(
            2,
            mean_head=Linear(np.zeros((2, 3))),
            scale_head=Linear(np.zeros((2, 3)), np.full(2, math.log(math.e - 1))),
        ),
        decode_head=nn.Identity(),
        likelihood="bernoulli",
        features_size=3,
    )
    estimate = estimate_likelihood(prior_only, torch.ones(4, 3), samples=30)
    torch.testing.assert_close(estimate.effective_samples, torch.full((4,), 30.0).double(), rtol=1e-3, atol=0)
    torch.testing.assert_close(
        estimate.log_likelihood, torch.full((4,), -3 * math.log(2)).double(), rtol=1e-3, atol=0
    )


def test_the_noise_belongs_to_the_seed_and_the_rows_and_to_no_generator_outside() -> None:
    model, x = linear_gaussian(), data()
    first = estimate_likelihood(model, x, samples=5, rows=16, seed=3).log_likelihood
    torch.manual_seed(99)
    assert torch.equal(first, estimate_likelihood(model, x, samples=5, rows=16, seed=3).log_likelihood)
    assert torch.equal(first[:32], estimate_likelihood(model, x[:32], samples=5, rows=16, seed=3).log_likelihood)
    assert not torch.equal(first, estimate_likelihood(model, x, samples=5, rows=16, seed=4).log_likelihood)
    twice = estimate_likelihood(model, x[:16].repeat(2, 1), samples=5, rows=16, seed=3).log_likelihood
    assert torch.equal(twice[:16], first[:16])
    assert not torch.isclose(twice[16:], first[:16]).any()


@pytest.mark.parametrize("width", [0.7, 1.6])
def test_a_proposal_of_another_width_gives_the_same_likelihood_and_the_posteriors_bound(width: float) -> None:
    model, x = linear_gaussian(), data()
    exact = stats.multivariate_normal(np.zeros(3), WEIGHTS @ WEIGHTS.T + SIGMA**2 * np.eye(3)).logpdf(x.numpy())
    estimate = estimate_likelihood(model, x, samples=4000, width=width)
    assert estimate.log_likelihood.mean().item() == pytest.approx(exact.mean(), abs=0.02)
    plain = estimate_likelihood(model, x, samples=4000)
    assert (estimate.bound.mean() - plain.bound.mean()).abs() < 0.05
    assert not torch.equal(estimate.effective_samples, plain.effective_samples)


BROAD = {
    "dirichlet": {"head": -4.0},
    "gaussian": {"scale_head": 1.5},
    "logistic-normal": {"scale_head": 1.5},
    "scaled-dirichlet": {"concentration_head": -4.0},
}
"""Biases of heads that make posteriors no narrower than the prior, so that no weight is huge."""


@pytest.mark.parametrize("width", [0.8, 1.0, 1.5])
@pytest.mark.parametrize("name", sorted(LATENTS))
def test_every_latent_gives_the_chance_that_draws_of_its_prior_do(name: str, width: float) -> None:
    """A coin whose logit is 6 z_0 - 1: its chance is a mean over the prior, which knows no posterior."""
    torch.manual_seed(3)
    model = AutoEncoder(
        nn.Linear(1, 2),
        Linear(np.array([[6.0, 0.0]]), np.array([-1.0])),
        2,
        latent=make_latent(name, 2),
        decode_head=nn.Identity(),
        likelihood="bernoulli",
    )
    with torch.no_grad():
        drawn = torch.sigmoid(6 * model.latent.prior.sample(400_000)[:, 0].double() - 1)
        for head, bias in BROAD.get(name, {}).items():
            model.latent.get_submodule(head).bias.fill_(bias)
    for side, chance in ((1.0, drawn), (0.0, 1 - drawn)):
        estimate = estimate_likelihood(model, torch.full((8000, 1), side), samples=50, rows=8000, width=width)
        error = chance.std() / len(chance) ** 0.5 + estimate.log_likelihood.exp().std() / 8000**0.5
        assert (estimate.log_likelihood.exp().mean() - chance.mean()).abs() < 4 * error


def test_the_width_that_is_chosen_brings_a_posterior_nearer_to_the_truth() -> None:
    """The true posterior of `linear_gaussian` has deviations of about 0.45 and 0.66."""
    model, x = linear_gaussian(), data(200)
    for deviation, expected in ((0.25, {2.0, 2.8}), (1.4, {0.25, 0.35, 0.5})):
        with torch.no_grad():
            model.latent.scale_head.bias.fill_(math.log(math.expm1(deviation)))
        assert choose_width(model, x, samples=500) in expected


def test_the_chosen_width_makes_the_likelihood_of_a_narrow_posterior_tighter() -> None:
    model, x = linear_gaussian(), data()
    with torch.no_grad():
        model.latent.scale_head.bias.fill_(math.log(math.expm1(0.3)))
    width = choose_width(model, x, samples=100, seed=5)
    plain = estimate_likelihood(model, x, samples=100, seed=5)
    wider = estimate_likelihood(model, x, samples=100, seed=5, width=width)
    assert wider.effective_samples.median() > 2 * plain.effective_samples.median()
    assert wider.log_likelihood.mean() > plain.log_likelihood.mean()


@dataclass(frozen=True, eq=False)
class OwnPosterior:
    """A posterior of a user's own, without what is optional."""

    mean: Tensor
    parameters: dict[str, Tensor]
    rsample: Callable[..., Tensor]
    log_prob: Callable[..., Tensor]


class Unwidened(Gaussian):
    """A latent with such posteriors."""

    def posterior(self, features: Tensor) -> OwnPosterior:
        ours = super().posterior(features)
        return OwnPosterior(ours.mean, ours.parameters, ours.rsample, ours.log_prob)


def test_a_latent_that_cannot_be_widened_is_measured_with_its_posterior() -> None:
    model, x = linear_gaussian(), data()
    model.latent.__class__ = Unwidened
    assert choose_width(model, x, samples=20) == 1.0
    with pytest.raises(NotImplementedError, match="OwnPosterior has no method `widened`; use width 1"):
        estimate_likelihood(model, x, samples=20, width=2.0)


class Unwritten(Likelihood):
    """A likelihood that was not written yet."""

    def log_prob(self, x: Tensor, decoded: Tensor) -> Tensor:
        raise NotImplementedError


def test_what_a_model_cannot_do_itself_is_no_word_on_widths() -> None:
    model = linear_gaussian()
    model.likelihood = Unwritten()
    with pytest.raises(NotImplementedError):
        choose_width(model, data(), samples=20)


def test_a_width_is_chosen_from_those_that_give_a_finite_likelihood() -> None:
    model, x = linear_gaussian(), data()
    assert choose_width(model, x, samples=20, widths=(0.5,)) == 0.5
    model.decoder.weight.data.fill_(math.nan)
    assert choose_width(model, x, samples=20) == 1.0
    with pytest.raises(ValueError, match="no widths were given"):
        choose_width(model, x, widths=())


@pytest.mark.parametrize("width", [0.0, -1.0, 1e-4, 2e3, math.inf, math.nan])
def test_a_width_that_draws_cannot_follow_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match=r"it must be a number from 0\.001 to 1000"):
        estimate_likelihood(linear_gaussian(), data(), width=width)
    with pytest.raises(ValueError, match=r"it must be a number from 0\.001 to 1000"):
        choose_width(linear_gaussian(), data(), widths=(1.0, width))


@pytest.mark.parametrize("width", [1e-3, 1e3])
@pytest.mark.parametrize("name", sorted(LATENTS))
def test_weights_are_right_at_the_ends_of_what_widths_may_be(name: str, width: float) -> None:
    """Their mean is minus the divergence of the proposal from the prior, which has a form of its own."""
    torch.manual_seed(0)
    latent = make_latent(name, 16)
    with torch.no_grad():
        posterior = latent.posterior(torch.randn(1, 16).expand(4000, -1))
        proposal = posterior.widened(width)
        weight = latent.weighted_draw(proposal)[1]
        divergence = latent.kl(proposal).double()[0]
    assert (weight.mean() + divergence).abs() < 5 * weight.std() / len(weight) ** 0.5 + 1e-3 * divergence


class Counting(Likelihood):
    """Coins that note how many examples they are shown at once."""

    largest = 0

    def log_prob(self, x: Tensor, decoded: Tensor) -> Tensor:
        Counting.largest = max(Counting.largest, len(decoded))
        return BernoulliLikelihood().log_prob(x, decoded)


def test_no_more_rows_are_decoded_at_a_time_than_asked_for() -> None:
    model = linear_gaussian()
    model.likelihood = Counting()
    estimate_likelihood(model, data(25), samples=7, rows=10)
    assert Counting.largest == 10


def test_means_are_positive_nats_with_the_spread_over_examples() -> None:
    estimate = estimate_likelihood(linear_gaussian(), data(), samples=10)
    means = estimate.means()
    assert means["nll"] == pytest.approx(-estimate.log_likelihood.mean().item())
    assert means["negative_bound"] == pytest.approx(means["reconstruction"] + means["kl"])
    assert means["nll_standard_error"] == pytest.approx(stats.sem(estimate.log_likelihood.numpy(), ddof=0))


def test_squared_errors_are_refused_for_they_are_no_likelihood() -> None:
    model = linear_gaussian()
    model.likelihood = SquaredError()
    with pytest.raises(ValueError, match="SquaredError is not a likelihood"):
        estimate_likelihood(model, data())


def test_nothing_to_draw_and_nothing_to_measure_are_refused() -> None:
    for name in ("samples", "rows"):
        with pytest.raises(ValueError, match=f"{name} is 0; it must be 1 or more"):
            estimate_likelihood(linear_gaussian(), data(), **{name: 0})
    with pytest.raises(ValueError, match="no example was given"):
        estimate_likelihood(linear_gaussian(), data()[:0])


class Failing(Likelihood):
    """A likelihood that cannot be evaluated."""

    def log_prob(self, x: Tensor, decoded: Tensor) -> Tensor:
        raise ArithmeticError


def test_each_module_is_left_in_the_mode_it_was_in_also_after_an_error() -> None:
    model = linear_gaussian().train()
    model.encoder.eval()  # as where it is frozen
    before = {name: module.training for name, module in model.named_modules()}
    estimate_likelihood(model, data(4), samples=2)
    assert {name: module.training for name, module in model.named_modules()} == before
    model.likelihood = Failing()
    with pytest.raises(ArithmeticError):
        estimate_likelihood(model, data(4), samples=2)
    assert {name: module.training for name, module in model.named_modules()} == before
    assert set(before.values()) == {True, False}
