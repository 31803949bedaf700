"""Likelihoods, against SciPy; the learned scale, against the analytic optimum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from dirvae.losses import (
    BernoulliLikelihood,
    GaussianLikelihood,
    LaplaceLikelihood,
    bernoulli_log_prob,
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
    with pytest.raises(ValueError, match="'poisson'; use one of bernoulli, gaussian, laplace"):
        make_likelihood("poisson")
