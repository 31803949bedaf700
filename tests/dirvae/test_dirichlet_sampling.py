"""Draws on the simplex, against SciPy's distributions and closed forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import special, stats

from dirvae.latents import Dirichlet
from dirvae.latents.dirichlet import DirichletPosterior
from dirvae.latents.dirichlet_density import log_dirichlet_rsample

CASES = [(alpha, size) for alpha in (0.01, 0.1, 0.9375, 1.0, 7.5, 100.0, 1000.0) for size in (2, 16, 64, 512)]


def draw(concentration: np.ndarray, num: int, *, seed: int = 0) -> np.ndarray:
    """Log of `num` draws in float64, from a float32 sampler: (num, K)."""
    rows = torch.as_tensor(concentration, dtype=torch.float32).expand(num, -1)
    return log_dirichlet_rsample(rows, generator=torch.Generator().manual_seed(seed)).double().numpy()


def beta_p_value(log_z: np.ndarray, a: float, b: float) -> float:
    """Kolmogorov-Smirnov p-value of exp(log_z) against Beta(a, b), looking below 0.999 only.

    Above, float32 cannot tell a winner's share from 1; what lies there is what its rivals' tests see near 0.
    """
    log_z = np.sort(log_z)
    expected = special.betainc(a, b, np.exp(log_z))
    ranks = np.arange(1, len(log_z) + 1) / len(log_z)
    distance = np.maximum(ranks - expected, expected - ranks + 1 / len(log_z))[log_z < np.log(0.999)]
    return float(stats.kstwo.sf(distance.max(), len(log_z)))


@pytest.mark.parametrize(("alpha", "size"), CASES)
def test_each_component_of_a_symmetric_draw_is_beta_distributed(alpha: float, size: int) -> None:
    log_z = draw(np.full(size, alpha), 8_000 if size < 512 else 2_000)
    p_values = [beta_p_value(log_z[:, k], alpha, alpha * (size - 1)) for k in (0, size - 1)]
    assert min(p_values) > 1e-4


def test_each_component_of_a_lopsided_draw_is_beta_distributed() -> None:
    concentration = np.array([0.02, 0.5, 1.0, 3.0, 60.0])
    log_z = draw(concentration, 20_000, seed=1)
    others = concentration.sum() - concentration
    p_values = [beta_p_value(log_z[:, k], a, b) for k, (a, b) in enumerate(zip(concentration, others, strict=True))]
    assert min(p_values) > 1e-4


@pytest.mark.parametrize("concentration", [[0.3, 0.05, 2.0], [1.0] * 8, [40.0, 100.0, 3.0, 0.5]])
def test_moments_and_entropy_are_those_of_scipys_dirichlet(concentration: list[float]) -> None:
    num = 60_000
    witness = stats.dirichlet(concentration)
    log_z = draw(np.array(concentration), num, seed=2)
    z = np.exp(log_z)
    np.testing.assert_allclose(z.sum(1), 1, atol=1e-5)
    np.testing.assert_array_less(np.abs(z.mean(0) - witness.mean()), 5 * np.sqrt(witness.var() / num))
    covariance = np.cov(z.T)
    np.testing.assert_allclose(covariance, witness.cov(), atol=0.03 * witness.var().max())
    posterior = DirichletPosterior(torch.tensor(concentration).expand(num, -1))
    surprise = -posterior.log_prob_of_log(torch.from_numpy(log_z)).double().numpy()
    assert abs(surprise.mean() - witness.entropy()) < 5 * surprise.std() / np.sqrt(num) + 1e-5


@pytest.mark.parametrize("size", [2, 64, 1024])
def test_where_every_component_underflows_a_draw_has_its_winner_and_is_not_uniform(size: int) -> None:
    log_z = draw(np.full(size, 1e-3), 1_000)
    assert np.isfinite(log_z).all()
    is_uniform = np.abs(np.exp(log_z) - 1 / size).max(1) < 1e-3
    assert not is_uniform.any()
    log_gammas = stats.loggamma.rvs(1e-3, size=(1_000, size), random_state=4)  # SciPy draws in logs, too
    witness = special.softmax(log_gammas, axis=1)
    assert stats.ks_2samp(np.exp(log_z).max(1).round(6), witness.max(1).round(6)).pvalue > 1e-4
    assert stats.ks_2samp(log_z[:, 0], special.log_softmax(log_gammas, axis=1)[:, 0]).pvalue > 1e-4


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e4])
def test_draws_and_gradients_are_finite_at_the_limits(alpha: float) -> None:
    concentration = torch.full((16, 4096), alpha, requires_grad=True)
    z = DirichletPosterior(concentration).rsample(torch.Generator().manual_seed(0))
    (z * torch.arange(4096)).sum().backward()
    assert torch.isfinite(z).all()
    assert torch.isfinite(concentration.grad).all()


def mean_square(alpha: np.ndarray) -> float:
    """E[z_0²] of a Dirichlet, in closed form."""
    return alpha[0] * (alpha[0] + 1) / (alpha.sum() * (alpha.sum() + 1))


def mean_log(alpha: np.ndarray) -> float:
    """E[log z_0] of a Dirichlet, in closed form."""
    return special.digamma(alpha[0]) - special.digamma(alpha.sum())


@pytest.mark.parametrize(
    ("expected", "function"),
    [(mean_square, lambda log_z: (2 * log_z[:, 0]).exp()), (mean_log, lambda log_z: log_z[:, 0])],
    ids=["z²", "log z"],
)
@pytest.mark.parametrize("alpha", [[0.1, 0.3, 0.05], [0.9, 0.9, 0.9, 0.9], [3.0, 50.0, 11.0], [300.0, 900.0]])
def test_gradients_of_draws_average_to_the_finite_differences_of_the_expectation(
    alpha: list[float], expected: Callable[[np.ndarray], float], function: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    point, num = np.array(alpha), 150_000
    rows = torch.tensor(alpha).repeat(num, 1).requires_grad_()
    function(log_dirichlet_rsample(rows, generator=torch.Generator().manual_seed(3))).sum().backward()
    draws = rows.grad.double().numpy()
    for k, a in enumerate(alpha):
        step = np.eye(len(alpha))[k] * 1e-4 * a
        slope = (expected(point + step) - expected(point - step)) / (2e-4 * a)
        assert abs(draws[:, k].mean() - slope) < 5 * draws[:, k].std() / np.sqrt(num) + 2e-4 * abs(slope)


def test_a_generator_decides_the_draw() -> None:
    posterior = Dirichlet(8).posterior(torch.zeros(4, 8, 3))
    first, again, other = (posterior.rsample(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_components_compete_along_axis_one_and_cells_do_not_meet() -> None:
    concentration = torch.full((2, 5, 3, 4), 0.5)
    concentration[0, 2, 1, 3] = 1e4
    z = DirichletPosterior(concentration).rsample(torch.Generator().manual_seed(0))
    torch.testing.assert_close(z.sum(1), torch.ones(2, 3, 4))
    assert z[0, 2, 1, 3] > 0.99
    assert (z[:, 2] > 0.99).sum() < 4
