"""KL divergences and log densities of Dirichlets, against SciPy, torch.distributions and 50-digit arithmetic."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from scipy import special, stats

from dirvae.latents import Dirichlet
from dirvae.latents.dirichlet import DirichletPosterior, DirichletPrior, dirichlet_kl


def random_concentrations(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    exponents = np.random.default_rng(seed).uniform(-3, 4, shape)
    return torch.from_numpy(10.0**exponents)


def kl_in_50_digits(a: list[float], b: list[float]) -> float:
    with mpmath.workdps(50):
        a, b = [mpmath.mpf(value) for value in a], [mpmath.mpf(value) for value in b]
        total = mpmath.fsum(a)
        value = mpmath.loggamma(total) - mpmath.loggamma(mpmath.fsum(b))
        for p, q in zip(a, b, strict=True):
            value += mpmath.loggamma(q) - mpmath.loggamma(p)
            value += (p - q) * (mpmath.digamma(p) - mpmath.digamma(total))
        return float(value)


@pytest.mark.parametrize("size", [2, 7, 300])
def test_kl_is_that_of_torch_distributions_in_float64(size: int) -> None:
    a, b = random_concentrations((50, size), 0), random_concentrations((50, size), 1)
    witness = torch.distributions.kl_divergence(torch.distributions.Dirichlet(a), torch.distributions.Dirichlet(b))
    torch.testing.assert_close(dirichlet_kl(a, b), witness, rtol=1e-9, atol=1e-9)


def test_kl_and_a_gamma_of_the_totals_make_up_the_papers_multigamma_kl() -> None:
    a = random_concentrations((20, 50), 2).numpy()
    b = np.full(50, 1 - 1 / 50)

    def gamma_kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return special.gammaln(q) - special.gammaln(p) + (p - q) * special.digamma(p)

    ours = dirichlet_kl(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    expected = gamma_kl(a, b).sum(1) - gamma_kl(a.sum(1), b.sum())
    np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("alpha", "size"), [(1e4, 4096), (1e-3, 4096), (1e4, 2), (1e-3, 2), (0.98, 50)])
def test_kl_of_float32_concentrations_is_right_at_the_limits(alpha: float, size: int) -> None:
    near = (alpha * (1 + 0.01 * np.sin(np.arange(size)))).astype(np.float32)
    prior = np.full(size, alpha, dtype=np.float32)
    ours = dirichlet_kl(torch.from_numpy(near)[None], torch.from_numpy(prior))
    assert ours.dtype == torch.float32
    expected = kl_in_50_digits(near.tolist(), prior.tolist())
    assert expected > 0
    np.testing.assert_allclose(ours.item(), expected, rtol=1e-5, atol=2e-7)


def test_kl_of_a_sharp_posterior_from_the_prior_is_right() -> None:
    latent = Dirichlet(4096)
    concentration = torch.full((1, 4096), 1e4)
    expected = kl_in_50_digits([1e4] * 4096, [float(np.float32(1 - 1 / 4096))] * 4096)
    np.testing.assert_allclose(latent.kl(DirichletPosterior(concentration)).item(), expected, rtol=1e-6)


def test_kl_is_zero_only_at_the_prior() -> None:
    latent = Dirichlet(3, prior=[0.5, 1.0, 4.0])
    same = DirichletPosterior(torch.tensor([[0.5, 1.0, 4.0]]))
    turned = DirichletPosterior(torch.tensor([[4.0, 1.0, 0.5]]))
    assert latent.kl(same).item() == 0
    assert latent.kl(turned).item() > 1


def test_kl_sums_over_grid_cells() -> None:
    concentration = random_concentrations((4, 6, 3, 5), 3).float()
    latent = Dirichlet(6)
    cells = concentration.movedim(1, -1).reshape(-1, 6)
    expected = latent.kl(DirichletPosterior(cells)).reshape(4, -1).sum(1)
    torch.testing.assert_close(latent.kl(DirichletPosterior(concentration)), expected)


def test_the_gradient_of_kl_is_its_finite_difference() -> None:
    a = random_concentrations((5, 4), 4).clamp(0.05, 50).requires_grad_()
    b = torch.tensor([0.3, 0.75, 1.0, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda value: dirichlet_kl(value, b), (a,))


@pytest.mark.parametrize("alpha", [1e-3, 1e4])
def test_the_gradient_of_kl_is_finite_at_the_limits(alpha: float) -> None:
    concentration = torch.full((2, 4096), alpha, requires_grad=True)
    Dirichlet(4096).kl(DirichletPosterior(concentration)).sum().backward()
    assert torch.isfinite(concentration.grad).all()


@pytest.mark.parametrize("size", [2, 9])
def test_log_prob_is_scipys(size: int) -> None:
    concentration = random_concentrations((20, size), 5).clamp(0.1, 1e3)
    points = np.random.default_rng(6).dirichlet(np.full(size, 2.0), 20)
    ours = DirichletPosterior(concentration).log_prob(torch.from_numpy(points))
    expected = [stats.dirichlet.logpdf(z, a) for z, a in zip(points, concentration.numpy(), strict=True)]
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9)


def test_log_prob_of_log_holds_where_the_draw_itself_underflows() -> None:
    log_z = torch.tensor([[-900.0, 0.0]])
    posterior = DirichletPosterior(torch.tensor([[0.01, 0.01]]))
    expected = float(special.gammaln(0.02) - 2 * special.gammaln(0.01) + 0.99 * 900)
    assert posterior.log_prob_of_log(log_z).item() == pytest.approx(expected, rel=1e-6)
    assert posterior.log_prob(log_z.exp()).item() == np.inf


def test_a_density_at_the_edge_is_not_nan_for_a_concentration_of_one() -> None:
    posterior = DirichletPosterior(torch.tensor([[1.0, 1.0, 1.0]]))
    assert posterior.log_prob(torch.tensor([[0.0, 0.0, 1.0]])).item() == pytest.approx(np.log(2))


def test_the_prior_has_scipys_moments_and_density() -> None:
    prior = DirichletPrior(torch.tensor([0.5, 1.0, 4.0]))
    witness = stats.dirichlet([0.5, 1.0, 4.0])
    np.testing.assert_allclose(prior.mean, witness.mean(), rtol=1e-6)
    np.testing.assert_allclose(prior.stddev, np.sqrt(witness.var()), rtol=1e-6)
    points = np.random.default_rng(0).dirichlet([2.0, 2.0, 2.0], (4, 2)).transpose(0, 2, 1)
    expected = [sum(witness.logpdf(cell) for cell in point.T) for point in points]
    np.testing.assert_allclose(prior.log_prob(torch.from_numpy(points)), expected, rtol=1e-5)
