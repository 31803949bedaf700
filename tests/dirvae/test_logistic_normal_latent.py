"""The logistic-normal: its density and divergences against the Gaussian of its log ratios, its heads and prior."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Generator, nn

from dirvae.latents import LogisticNormal
from dirvae.latents.logistic_normal import LogisticNormalPosterior
from dirvae.latents.logistic_normal_density import logistic_normal_kl, logistic_normal_log_prob, logit_kl


def some(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(0, 2, shape)), torch.from_numpy(rng.uniform(0.1, 3, shape))


def of_log_ratios(location: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of (y_k - y_K), k < K: the Gaussian that the law of the shares is a transform of."""
    differences = np.hstack([np.eye(len(scale) - 1), -np.ones((len(scale) - 1, 1))])
    return differences @ location, differences @ np.diag(scale**2) @ differences.T


@pytest.mark.parametrize("size", [2, 5, 30])
def test_the_density_is_that_of_the_log_ratios(size: int) -> None:
    location, scale = some(8, size)
    points = np.random.default_rng(1).dirichlet(np.full(size, 0.7), 8)
    ours = logistic_normal_log_prob(torch.from_numpy(np.log(points)), location, scale)
    for row in range(8):
        mean, covariance = of_log_ratios(location[row].numpy(), scale[row].numpy())
        log_ratio = np.log(points[row, :-1] / points[row, -1])
        expected = stats.multivariate_normal.logpdf(log_ratio, mean, covariance) - np.log(points[row]).sum()
        assert ours[row].item() == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("size", [2, 5, 30])
def test_kl_on_the_simplex_is_that_of_the_log_ratios(size: int) -> None:
    (location, scale), (prior_location, prior_scale) = some(6, size), some(1, size, seed=1)
    ours = logistic_normal_kl(location, scale, prior_location, prior_scale)
    prior = [torch.from_numpy(part) for part in of_log_ratios(prior_location[0].numpy(), prior_scale[0].numpy())]
    for row in range(6):
        parts = [torch.from_numpy(part) for part in of_log_ratios(location[row].numpy(), scale[row].numpy())]
        expected = torch.distributions.kl_divergence(
            torch.distributions.MultivariateNormal(*parts), torch.distributions.MultivariateNormal(*prior)
        )
        assert ours[row].item() == pytest.approx(expected.item(), rel=1e-8)


def test_kl_of_the_logits_is_torchs_and_never_below_that_on_the_simplex() -> None:
    (location, scale), (prior_location, prior_scale) = some(50, 6, 2), some(1, 6, 1, seed=1)
    ours = logit_kl(location, scale, prior_location, prior_scale)
    cells = torch.distributions.kl_divergence(
        torch.distributions.Normal(location, scale), torch.distributions.Normal(prior_location, prior_scale)
    )
    torch.testing.assert_close(ours, cells.sum((1, 2)))
    assert (ours > logistic_normal_kl(location, scale, prior_location, prior_scale)).all()


def test_a_latent_uses_the_kl_it_was_told() -> None:
    location, scale = some(4, 6)
    posterior = LogisticNormalPosterior(location, scale)
    for name, function in (("simplex", logistic_normal_kl), ("logits", logit_kl)):
        expected = function(location, scale, torch.zeros(1, 6), torch.ones(1, 6))
        torch.testing.assert_close(LogisticNormal(6, kl=name).kl(posterior), expected)


def test_a_shift_of_all_logits_changes_nothing_on_the_simplex() -> None:
    location, scale = some(4, 6)
    log_z = torch.log_softmax(torch.randn(4, 6, dtype=torch.float64), 1)
    zero, one = torch.zeros(1, 6), torch.ones(1, 6)
    shifted = logistic_normal_kl(location + 9, scale, zero, one)
    torch.testing.assert_close(shifted, logistic_normal_kl(location, scale, zero, one))
    assert (logit_kl(location + 9, scale, zero, one) > logit_kl(location, scale, zero, one) + 50).all()
    shifted = logistic_normal_log_prob(log_z, location + 9, scale)
    torch.testing.assert_close(shifted, logistic_normal_log_prob(log_z, location, scale))


@pytest.mark.parametrize("scale", [1e-4, 1.0, 100.0])
def test_values_are_finite_and_right_for_tiny_and_huge_scales(scale: float) -> None:
    location, scales = torch.linspace(-30, 30, 4096)[None], torch.full((1, 4096), scale)
    posterior = LogisticNormalPosterior(location, scales)
    latent = LogisticNormal(4096, location_head=nn.Identity(), scale_head=nn.Identity())
    log_z = posterior.log_rsample(Generator().manual_seed(0))
    assert log_z.isfinite().all()
    assert posterior.log_prob_of_log(log_z).isfinite().all()
    squares = (location.double() - location.double().mean()).square().sum().item()
    expected = 0.5 * (4095 * (float(np.float32(scale)) ** 2 - 1 - 2 * math.log(float(np.float32(scale)))) + squares)
    assert latent.kl(posterior).item() == pytest.approx(expected, rel=1e-6)


def test_the_default_prior_is_the_standard_normal_on_the_logits() -> None:
    prior = LogisticNormal(50).prior
    assert prior.location.tolist() == [0.0] * 50
    assert prior.scale.tolist() == [1.0] * 50


def test_a_prior_is_given_as_the_dirichlet_it_approximates() -> None:
    prior = LogisticNormal(3, prior=[400.0, 900.0, 650.0]).prior
    witness = stats.dirichlet([400.0, 900.0, 650.0])
    np.testing.assert_allclose(prior.mean, witness.mean(), rtol=1e-3)
    np.testing.assert_allclose(prior.stddev, np.sqrt(witness.var()), rtol=2e-3)


@pytest.mark.parametrize(("size", "prior"), [(5, 1.0), (300, 0.01), (1024, 1e-3)])
def test_a_prior_of_components_all_alike_has_the_same_mean_and_deviation_for_each(size: int, prior: float) -> None:
    law = LogisticNormal(size, prior=prior).prior
    assert law.mean.tolist() == [float(np.float32(1 / size))] * size
    assert len(set(law.stddev.tolist())) == 1
    z = law.sample(4000, generator=Generator().manual_seed(0)).double()
    assert law.stddev[0].item() == pytest.approx(z.var(0).mean().sqrt().item(), rel=0.03)


def test_given_heads_are_used_as_they_are() -> None:
    features = torch.randn(3, 4, 2)
    posterior = LogisticNormal(4, location_head=nn.Identity(), scale_head=nn.Identity()).posterior(features)
    torch.testing.assert_close(posterior.location, features)
    torch.testing.assert_close(posterior.scale, nn.functional.softplus(features) + 1e-4)


def test_an_unknown_kl_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ValueError, match="'full'; use one of simplex, logits"):
        LogisticNormal(4, kl="full")
