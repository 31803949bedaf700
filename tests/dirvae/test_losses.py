"""Likelihoods, against SciPy; the learned scale, against the analytic optimum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from dirvae.losses import (
    LIKELIHOODS,
    BernoulliLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
    LaplaceLikelihood,
    SquaredError,
    bernoulli_log_prob,
    discretized_logistic_log_prob,
    gaussian_log_prob,
    laplace_log_prob,
    make_likelihood,
    masked_mean,
)

X = torch.rand(4, 3, 5, 2, generator=torch.Generator().manual_seed(0))
DECODED = torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(1))


def test_densities_are_scipys_summed_over_all_but_the_batch() -> None:
    x, decoded, scale = X.numpy(), DECODED.numpy(), torch.tensor(0.3)
    coins = (X > 0.5).float()
    probabilities = 1 / (1 + np.exp(-decoded))
    pairs = [
        (gaussian_log_prob(X, DECODED, scale), stats.norm.logpdf(x, decoded, 0.3)),
        (laplace_log_prob(X, DECODED, scale), stats.laplace.logpdf(x, decoded, 0.3)),
        (bernoulli_log_prob(coins, DECODED), stats.bernoulli.logpmf(coins.numpy(), probabilities)),
    ]
    for ours, witness in pairs:
        np.testing.assert_allclose(ours, witness.sum((1, 2, 3)), rtol=1e-4)


def test_densities_of_half_precision_outputs_are_summed_in_float32() -> None:
    zeros = torch.zeros(1, 3, 256, 256)
    for ours in (
        gaussian_log_prob(zeros, zeros.half(), torch.tensor(1.0)),
        bernoulli_log_prob(zeros, zeros.half()),
        laplace_log_prob(zeros, zeros.half(), torch.tensor(1.0)),
    ):
        assert ours.dtype == torch.float32
        assert 1e5 < -ours.item() < 2e5


@pytest.mark.parametrize("scale", [0.003, 0.05, 2.0])
def test_bins_of_a_logistic_law_have_scipys_masses_and_sum_to_one(scale: float) -> None:
    levels = np.arange(256)
    edges = np.concatenate([[-np.inf], (levels[1:] - 0.5) / 255, [np.inf]])
    for mean in (-0.2, 0.31, 1.0):
        masses = np.diff(stats.logistic.cdf(edges, mean, scale))
        x = torch.from_numpy(levels / 255).float()[:, None]
        ours = discretized_logistic_log_prob(x, torch.full_like(x, mean), torch.tensor(scale)).double().exp()
        np.testing.assert_allclose(ours, masses, rtol=2e-3, atol=1e-7)
        assert ours.sum().item() == pytest.approx(1, abs=1e-4)


def test_a_bin_far_from_its_mean_keeps_a_finite_probability_and_a_gradient() -> None:
    mean = torch.tensor([[1.0, 0.0, 0.3]], requires_grad=True)
    x = torch.tensor([[0.0, 1.0, 128 / 255]])
    value = discretized_logistic_log_prob(x, mean, torch.tensor(1 / 1024))
    value.sum().backward()
    assert -3e3 < value.item() < -2e3
    assert mean.grad.isfinite().all()
    assert mean.grad[0, 0] < 0 < mean.grad[0, 1]


def test_binned_probability_is_density_times_bin_where_the_law_is_wide() -> None:
    x = (X * 253 + 1).round() / 255
    scale = torch.tensor(5.0)
    density = stats.logistic.logpdf(x.numpy(), DECODED.numpy(), 5.0).sum((1, 2, 3))
    ours = discretized_logistic_log_prob(x, DECODED, scale)
    np.testing.assert_allclose(ours, density - 30 * math.log(255), rtol=1e-5)


def test_squared_error_is_a_normal_of_scale_one_without_its_constant_and_says_it_is_no_density() -> None:
    normal = stats.norm.logpdf(X.numpy(), DECODED.numpy(), 1).sum((1, 2, 3))
    ours = SquaredError().log_prob(X, DECODED)
    np.testing.assert_allclose(ours - 15 * math.log(2 * math.pi), normal, rtol=1e-5)
    assert [name for name in LIKELIHOODS if not make_likelihood(name).is_density] == ["mse"]


def test_coin_flips_of_extreme_logits_keep_a_finite_value_and_a_gradient() -> None:
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    value = bernoulli_log_prob(torch.tensor([[0.0, 1.0]]), logits)
    value.sum().backward()
    assert value.item() == -2e4
    assert logits.grad.tolist() == [[-1, 1]]


@pytest.mark.parametrize("kind", [GaussianLikelihood, LaplaceLikelihood])
def test_the_learned_scale_finds_the_analytic_optimum(kind: type[GaussianLikelihood]) -> None:
    likelihood, error = kind(scale=0.3), X - 0.5
    optimum = error.square().mean().sqrt() if kind is GaussianLikelihood else error.abs().mean()
    optimizer = torch.optim.Adam(likelihood.parameters(), 1e-3)
    for _ in range(300):
        optimizer.zero_grad()
        (-likelihood.log_prob(X * 0.2, torch.full_like(X, 0.1))).mean().backward()
        optimizer.step()
    assert likelihood.scale.item() == pytest.approx(0.2 * optimum.item(), rel=0.02)


@pytest.mark.parametrize("kind", [GaussianLikelihood, LaplaceLikelihood])
def test_a_scale_starts_where_it_is_told_and_stays_if_it_is_not_learned(kind: type[GaussianLikelihood]) -> None:
    likelihood = kind(scale=0.05, learned=False)
    assert likelihood.scale.item() == pytest.approx(0.05)
    assert [weight for weight in likelihood.parameters() if weight.requires_grad] == []
    with pytest.raises(ValueError, match="scale is 0"):
        kind(scale=0)


def test_a_perfect_reconstruction_has_a_finite_density_and_the_scale_can_grow_again() -> None:
    likelihood = GaussianLikelihood()
    with torch.no_grad():
        likelihood.raw_scale.fill_(-10)
    assert likelihood.scale.item() == pytest.approx(1 / 1024)
    assert likelihood.log_prob(X, X).isfinite().all()
    with torch.no_grad():
        likelihood.raw_scale.fill_(-0.7)
    likelihood.log_prob(X, DECODED).sum().backward()
    assert likelihood.raw_scale.grad > 0


def test_means_are_in_data_space() -> None:
    assert torch.equal(GaussianLikelihood().mean(DECODED), DECODED)
    assert torch.equal(LaplaceLikelihood().mean(DECODED), DECODED)
    assert torch.equal(DiscretizedLogisticLikelihood().mean(DECODED), DECODED)
    assert torch.equal(SquaredError().mean(DECODED), DECODED)
    assert torch.equal(BernoulliLikelihood().mean(DECODED), DECODED.sigmoid())


def test_masked_examples_count_neither_in_the_mean_nor_in_its_gradient() -> None:
    values = torch.tensor([1.0, 3.0, math.nan, 100.0], requires_grad=True)
    mean = masked_mean(values, torch.tensor([True, True, False, False]))
    mean.backward()
    assert mean.item() == 2
    assert values.grad.tolist() == [0.5, 0.5, 0, 0]


def test_without_a_mask_all_count_and_with_nothing_left_the_mean_is_zero() -> None:
    assert masked_mean(torch.tensor([1.0, 5.0])).item() == 3
    assert masked_mean(torch.tensor([1.0, 5.0]), torch.tensor([False, False])).item() == 0


def test_likelihoods_go_by_name_and_others_are_refused() -> None:
    assert isinstance(make_likelihood("laplace"), LaplaceLikelihood)
    with pytest.raises(
        ValueError, match="'poisson'; use one of bernoulli, discretized-logistic, gaussian, laplace, mse"
    ):
        make_likelihood("poisson")


@pytest.mark.parametrize("name", ["discretized-logistic", "gaussian", "laplace"])
def test_a_scale_can_be_fixed_by_name_where_there_is_one(name: str) -> None:
    fixed, learned = make_likelihood(name, fixed_scale=0.25), make_likelihood(name)
    assert fixed.scale.item() == pytest.approx(0.25)
    assert not fixed.raw_scale.requires_grad
    assert learned.raw_scale.requires_grad
    with pytest.raises(ValueError, match=r"'bernoulli' has no scale to fix at 0\.25"):
        make_likelihood("bernoulli", fixed_scale=0.25)
