"""The Gaussian latent, against SciPy and torch.distributions."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from torch import nn

from dirvae.latents import Gaussian
from dirvae.latents.gaussian import GaussianPosterior


def some_posterior(*shape: int) -> GaussianPosterior:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(shape, generator=generator)
    return GaussianPosterior(mean, torch.rand(shape, generator=generator) * 2 + 0.05)


def test_kl_is_that_of_torch_distributions_summed_over_the_grid() -> None:
    posterior = some_posterior(5, 6, 3, 2)
    standard = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    cells = torch.distributions.kl_divergence(torch.distributions.Normal(posterior.mean, posterior.scale), standard)
    torch.testing.assert_close(Gaussian(6).kl(posterior), cells.sum((1, 2, 3)))


def test_log_prob_is_scipys_for_posterior_and_prior() -> None:
    posterior, z = some_posterior(5, 6, 3), torch.randn(5, 6, 3)
    ours = posterior.log_prob(z)
    expected = stats.norm.logpdf(z.numpy(), posterior.mean.numpy(), posterior.scale.numpy()).sum((1, 2))
    np.testing.assert_allclose(ours, expected, rtol=1e-4)
    np.testing.assert_allclose(Gaussian(6).prior.log_prob(z), stats.norm.logpdf(z.numpy()).sum((1, 2)), rtol=1e-4)


def test_draws_have_the_posteriors_law_and_repeat_with_their_generator() -> None:
    posterior = GaussianPosterior(torch.full((20_000, 2), -3.0), torch.full((20_000, 2), 0.25))
    z = posterior.rsample(torch.Generator().manual_seed(0))
    assert stats.kstest(z.flatten().numpy(), stats.norm(-3, 0.25).cdf).pvalue > 1e-4
    assert torch.equal(z, posterior.rsample(torch.Generator().manual_seed(0)))


def test_prior_draws_are_standard_normal() -> None:
    z = Gaussian(3).prior.sample(2_000, 4, generator=torch.Generator().manual_seed(0))
    assert z.shape == (2_000, 3, 4)
    assert stats.kstest(z.flatten().numpy(), "norm").pvalue > 1e-4


def test_the_gradient_of_a_draw_is_one_for_the_mean_and_the_noise_for_the_scale() -> None:
    mean, scale = torch.zeros(4, 2, requires_grad=True), torch.full((4, 2), 2.0, requires_grad=True)
    z = GaussianPosterior(mean, scale).rsample()
    z.sum().backward()
    torch.testing.assert_close(mean.grad, torch.ones(4, 2))
    torch.testing.assert_close(scale.grad, z.detach() / 2)


def test_given_heads_are_used_as_they_are() -> None:
    features = torch.randn(3, 4, 2)
    posterior = Gaussian(4, mean_head=nn.Identity(), scale_head=nn.Identity()).posterior(features)
    torch.testing.assert_close(posterior.mean, features)
    torch.testing.assert_close(posterior.scale, nn.functional.softplus(features) + 1e-4)


def test_inside_bfloat16_autocast_the_latent_computes_in_float32() -> None:
    latent, features = Gaussian(16), torch.randn(8, 16).bfloat16()
    outside = latent.posterior(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = latent.posterior(features)
    assert torch.equal(inside.mean, outside.mean)
    assert torch.equal(inside.scale, outside.scale)
