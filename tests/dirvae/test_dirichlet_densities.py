"""KL divergences and log densities of Dirichlets, against SciPy, torch.distributions and 50-digit arithmetic."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from scipy import special, stats

from dirvae.latents import Dirichlet
from dirvae.latents.dirichlet import DirichletPosterior, DirichletPrior
from dirvae.latents.dirichlet_density import dirichlet_kl, dirichlet_mean_square, multigamma_kl


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


def scipys_gamma_kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return special.gammaln(q) - special.gammaln(p) + (p - q) * special.digamma(p)


@pytest.mark.parametrize("size", [2, 50, 1000])
def test_the_multigamma_kl_is_that_on_the_simplex_and_a_gamma_of_the_totals(size: int) -> None:
    a = random_concentrations((20, size), 2).numpy()
    b = random_concentrations((size,), 3).numpy()
    on_simplex = dirichlet_kl(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    multigamma = multigamma_kl(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(multigamma, on_simplex + scipys_gamma_kl(a.sum(1), b.sum()), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(multigamma, scipys_gamma_kl(a, b).sum(1), rtol=1e-10)
    assert (multigamma > on_simplex).all()


def test_a_latent_told_to_use_the_multigamma_kl_does() -> None:
    concentration = random_concentrations((3, 6, 2), 4).float()
    latent, other = Dirichlet(6, kl="multigamma"), Dirichlet(6)
    a = concentration.double().numpy()
    expected = scipys_gamma_kl(a, np.float64(np.float32(1 - 1 / 6))).sum((1, 2))
    np.testing.assert_allclose(latent.kl(DirichletPosterior(concentration)), expected, rtol=1e-6)
    assert (latent.kl(DirichletPosterior(concentration)) > other.kl(DirichletPosterior(concentration))).all()


@pytest.mark.parametrize("size", [2, 40])
def test_kl_is_right_over_the_whole_range_of_concentrations(size: int) -> None:
    a, b = random_concentrations((12, size), 5).float(), random_concentrations((12, size), 6).float()
    expected = [kl_in_50_digits(p, q) for p, q in zip(a.tolist(), b.tolist(), strict=True)]
    np.testing.assert_allclose(dirichlet_kl(a, b), expected, rtol=1e-6)


def test_kl_is_the_mean_log_ratio_over_scipys_own_draws() -> None:
    a, b, num = np.array([0.4, 1.0, 3.0, 12.0]), np.array([0.75, 0.75, 2.0, 0.3]), 200_000
    points = np.random.default_rng(7).dirichlet(a, num)
    with np.errstate(divide="ignore"):
        ratio = ((a - b) * np.log(points)).sum(1)
    ratio += (
        special.gammaln(a.sum()) - special.gammaln(a).sum() - special.gammaln(b.sum()) + special.gammaln(b).sum()
    )
    ours = dirichlet_kl(torch.from_numpy(a)[None], torch.from_numpy(b)).item()
    assert abs(ratio.mean() - ours) < 5 * ratio.std() / np.sqrt(num)


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
    latent = Dirichlet(4096, head=torch.nn.Identity())
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
    a = torch.tensor([[0.3, 2.0, 11.0], [5.0, 0.02, 1.0]], dtype=torch.float64, requires_grad=True)
    for b in (torch.tensor([[0.7, 1.0, 3.0]]), torch.tensor([[0.7, 1.0, 3.0], [2.0, 0.4, 9.0]])):
        prior = b.double().requires_grad_()
        assert torch.autograd.gradcheck(dirichlet_kl, (a, prior))
        assert torch.autograd.gradgradcheck(dirichlet_kl, (a, prior))
    grid = torch.rand(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: dirichlet_kl(value, torch.ones(1, 3, 1, 1)), (grid,))


def test_kl_of_each_example_is_differentiated_by_functorch() -> None:
    a, b = random_concentrations((4, 5), seed=1), torch.full((1, 5), 0.8, dtype=torch.float64)
    by_vmap = torch.func.vmap(torch.func.grad(lambda row: dirichlet_kl(row[None], b).sum()))(a)
    total = a.clone().requires_grad_()
    dirichlet_kl(total, b).sum().backward()
    torch.testing.assert_close(by_vmap, total.grad)


@pytest.mark.parametrize("alpha", [1e-3, 1e4])
def test_the_gradient_of_kl_is_finite_at_the_limits(alpha: float) -> None:
    concentration = torch.full((2, 4096), alpha, requires_grad=True)
    Dirichlet(4096, head=torch.nn.Identity()).kl(DirichletPosterior(concentration)).sum().backward()
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


def test_the_mean_square_is_scipys() -> None:
    a = random_concentrations((8,), 9).clamp(0.01, 100)
    witness = stats.dirichlet(a.numpy())
    expected = witness.var() + witness.mean() ** 2
    np.testing.assert_allclose(dirichlet_mean_square(a[None])[0], expected, rtol=1e-10)


def test_densities_come_in_the_precision_of_the_point() -> None:
    concentration = torch.full((1, 64), 9e3)
    points = torch.from_numpy(np.random.default_rng(8).dirichlet(np.full(64, 9e3), 1))
    expected = float(stats.dirichlet.logpdf(points[0].numpy(), np.full(64, 9e3)))
    assert DirichletPosterior(concentration).log_prob(points).item() == pytest.approx(expected, rel=1e-10)
    assert DirichletPosterior(concentration).log_prob(points.float()).dtype == torch.float32


def test_the_prior_has_scipys_moments_and_density() -> None:
    prior = DirichletPrior(torch.tensor([0.5, 1.0, 4.0]))
    witness = stats.dirichlet([0.5, 1.0, 4.0])
    np.testing.assert_allclose(prior.mean, witness.mean(), rtol=1e-6)
    np.testing.assert_allclose(prior.stddev, np.sqrt(witness.var()), rtol=1e-6)
    points = np.random.default_rng(0).dirichlet([2.0, 2.0, 2.0], (4, 2)).transpose(0, 2, 1)
    expected = [sum(witness.logpdf(cell) for cell in point.T) for point in points]
    np.testing.assert_allclose(prior.log_prob(torch.from_numpy(points)), expected, rtol=1e-5)
