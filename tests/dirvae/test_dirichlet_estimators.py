"""The estimators of Dirichlet draws: the law each one draws from, and the gradient each one gives."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, special, stats
from torch import Generator, Tensor

from dirvae.latents.dirichlet_density import log_dirichlet_rsample
from dirvae.latents.estimators import (
    ESTIMATORS,
    exact_log_gamma,
    laplace_logits,
    paper_log_gamma,
    rsvi_log_gamma,
    weibull_log_gamma,
)

NUM = 60_000
ALPHAS = (0.05, 0.3, 1.0, 4.0)


def draws(estimator: Callable[..., Tensor], *alphas: float, num: int = NUM, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Concentrations (num, K) that need gradients, and the estimator's logits for them."""
    concentration = torch.tensor(alphas).repeat(num, 1).requires_grad_()
    return concentration, estimator(concentration, Generator().manual_seed(seed))


def assert_mean(values: np.ndarray, expected: float, *, slack: float = 0.0) -> None:
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - expected) < 5 * error + slack, f"{values.mean()} ± {error}, not {expected}"


def test_every_estimator_repeats_with_its_generator_and_keeps_shape_and_dtype() -> None:
    for name, estimator in ESTIMATORS.items():
        for dtype in (torch.float32, torch.float64):
            concentration = torch.rand(3, 5, 2, 2, dtype=dtype) + 0.1
            first, again, other = (estimator(concentration, Generator().manual_seed(seed)) for seed in (0, 0, 1))
            assert first.shape == concentration.shape, name
            assert first.dtype == dtype, name
            assert torch.equal(first, again), name
            assert not torch.equal(first, other), name


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.parametrize("alpha", [1e-3, 0.1, 1.0, 1e4])
def test_every_estimator_is_finite_at_the_limits(name: str, alpha: float) -> None:
    concentration = torch.full((4, 4096), alpha, requires_grad=True)
    z = log_dirichlet_rsample(concentration, estimator=ESTIMATORS[name]).exp()
    (z * torch.arange(4096)).sum().backward()
    assert z.isfinite().all()
    assert concentration.grad.isfinite().all()


@pytest.mark.parametrize("estimator", [exact_log_gamma, rsvi_log_gamma])
@pytest.mark.parametrize("alpha", [0.02, 0.7, 1.0, 3.0, 200.0])
def test_exact_and_rsvi_draw_from_the_gamma_distribution(estimator: Callable[..., Tensor], alpha: float) -> None:
    _, log_gamma = draws(estimator, alpha, num=20_000)
    x = log_gamma.detach().double().numpy()[:, 0]
    assert stats.kstest(x, stats.loggamma(alpha).cdf).pvalue > 1e-4


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_papers_estimator_is_its_formula(alpha: float) -> None:
    _, log_gamma = draws(paper_log_gamma, alpha, num=20_000)
    x = log_gamma.detach().double().numpy()[:, 0]
    uniform = np.exp(alpha * x - special.gammaln(alpha + 1))  # x = (u a Γ(a))^(1/a)
    assert stats.kstest(uniform, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("alpha", [0.05, 0.3, 1.0])
def test_the_papers_gammas_have_half_the_mean_and_too_little_spread(alpha: float) -> None:
    _, log_gamma = draws(paper_log_gamma, alpha, num=400_000)
    x = log_gamma.detach().double().exp().numpy()[:, 0]
    share = special.gamma(alpha + 1) ** (1 / alpha) / (alpha + 1)  # of the true mean, alpha
    assert 0.49 < share < math.exp(-np.euler_gamma)
    assert_mean(x / alpha, share)
    relative_variance = x.var() / x.mean() ** 2
    assert relative_variance == pytest.approx(1 / (alpha * (alpha + 2)), rel=0.05)
    assert relative_variance < 0.7 * (1 / alpha)


def test_at_one_the_papers_gamma_is_uniform_instead_of_exponential() -> None:
    _, log_gamma = draws(paper_log_gamma, 1.0, num=20_000)
    x = log_gamma.detach().double().exp().numpy()[:, 0]
    assert stats.kstest(x, "uniform").pvalue > 1e-4
    assert stats.kstest(x, "expon").pvalue < 1e-12


def test_the_papers_dirichlet_is_told_from_a_true_one_at_one_but_not_far_below() -> None:
    for alpha, is_close in ((1.0, False), (0.01, True)):
        rows = torch.full((20_000, 4), alpha)
        ours = log_dirichlet_rsample(rows, estimator=paper_log_gamma, generator=Generator().manual_seed(1))[:, 0]
        theirs = special.log_softmax(stats.loggamma.rvs(alpha, size=(20_000, 4), random_state=2), axis=1)[:, 0]
        below = [np.minimum(log_z, math.log(0.999)) for log_z in (ours.double().numpy(), theirs)]
        p_value = stats.ks_2samp(*below).pvalue  # float32 cannot tell shares above from 1
        assert (p_value > 1e-4) == is_close, p_value


def weibull_gamma_kl(log_power: float, log_scale: float, alpha: float) -> float:
    """KL(Weibull ‖ Gamma(alpha, 1)) by quadrature over E ~ Exp(1): x = λ E^s."""
    s, scale = math.exp(log_power), math.exp(log_scale)

    def integrand(e: float) -> float:
        log_x = log_scale + s * math.log(e)
        log_weibull = -e + math.log(e) - math.log(s) - log_x  # dx/dE = s x / E
        return math.exp(-e) * (log_weibull - (alpha - 1) * log_x + scale * e**s)

    return integrate.quad(integrand, 0, 80, limit=400, points=[0.01, 1.0, 5.0])[0]


@pytest.mark.parametrize("alpha", [0.3, 1.0, 2.5, 20.0])
def test_the_weibull_law_is_the_nearest_to_the_gamma(alpha: float) -> None:
    best = optimize.minimize(lambda at: weibull_gamma_kl(*at, alpha), [0.0, 0.0], method="Nelder-Mead", tol=1e-9)
    _, log_x = draws(weibull_log_gamma, alpha, num=20_000)
    power, scale = np.exp(best.x)
    weibull = np.exp((log_x.detach().double().numpy()[:, 0] - math.log(scale)) / power)
    assert stats.kstest(weibull, "expon").pvalue > 1e-4


def test_the_weibull_power_solves_its_equation_for_every_concentration() -> None:
    alpha = torch.logspace(-3, 4, 300, dtype=torch.float64)[:, None].expand(300, 2)
    log_x = weibull_log_gamma(alpha, Generator().manual_seed(0))
    log_exponential = torch.empty_like(log_x).exponential_(generator=Generator().manual_seed(0)).log()
    power = ((log_x[:, 0] - log_x[:, 1]) / (log_exponential[:, 0] - log_exponential[:, 1])).numpy()
    equation = alpha[:, 0].numpy() * power * (special.digamma(1 + power) + np.euler_gamma)
    np.testing.assert_allclose(equation, 1, rtol=1e-8)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 20.0])
def test_the_weibull_keeps_the_mean_and_its_slope_for_every_concentration(alpha: float) -> None:
    concentration, log_x = draws(weibull_log_gamma, alpha, num=300_000)
    assert_mean(log_x.detach().double().exp().numpy()[:, 0], alpha)
    log_x.double().exp().sum().backward()  # of E[x] = alpha
    assert_mean(concentration.grad.double().numpy()[:, 0], 1.0)


def test_the_laplace_logits_are_the_laplace_approximation_of_the_density_in_the_softmax_basis() -> None:
    alphas = np.array([0.4, 2.0, 9.0, 30.0])
    center = np.eye(4) - 1 / 4  # of Σ a_k log softmax(y)_k, flat along the shift of all y: mode and curvature
    shares = alphas / alphas.sum()
    curvature = alphas.sum() * (np.diag(shares) - np.outer(shares, shares))
    _, logits = draws(laplace_logits, *alphas, num=200_000)
    values = logits.detach().double().numpy() @ center
    np.testing.assert_allclose(values.mean(0), center @ np.log(shares), atol=0.02)
    np.testing.assert_allclose(np.cov(values.T), np.linalg.pinv(curvature), rtol=0.03, atol=0.02)


def test_the_laplace_logits_meet_the_log_ratios_of_a_sharp_dirichlet() -> None:
    alphas = np.array([400.0, 900.0, 650.0])
    _, logits = draws(laplace_logits, *alphas)
    log_ratio = (logits[:, 0] - logits[:, 1]).detach().double().numpy()
    spread = math.sqrt(special.polygamma(1, 400) + special.polygamma(1, 900))
    assert log_ratio.mean() == pytest.approx(special.digamma(400) - special.digamma(900), abs=0.01)
    assert log_ratio.std() == pytest.approx(spread, rel=0.02)


def rsvi_slope_of_log(alpha: float, augmentation: int) -> float:
    """What g_rep of E[log x] averages to, by quadrature: d log h(ε, c)/dc over the accepted ε, and the U's part."""
    c = alpha + augmentation

    def slope(x: float) -> float:
        noise = math.sqrt(9 * c - 3) * ((x / (c - 1 / 3)) ** (1 / 3) - 1)
        inner = 1 + noise / math.sqrt(9 * c - 3)
        return 1 / (c - 1 / 3) - 3 * noise * 4.5 * (9 * c - 3) ** -1.5 / inner

    far = c + 12 * math.sqrt(c) + 30
    of_gamma = integrate.quad(lambda x: slope(x) * stats.gamma.pdf(x, c), 0, far, limit=400)[0]
    return of_gamma + sum(1 / (alpha + i) ** 2 for i in range(augmentation))


@pytest.mark.parametrize("augmentation", [1, 3, 10])
def test_the_rsvi_gradient_is_the_reparameterised_part(augmentation: int) -> None:
    concentration = torch.full((400_000, 1), 2.0, requires_grad=True)
    log_x = rsvi_log_gamma(concentration, Generator().manual_seed(0), shape_augmentation=augmentation)
    log_x.sum().backward()
    assert_mean(concentration.grad.double().numpy()[:, 0], rsvi_slope_of_log(2.0, augmentation), slack=1e-6)


def test_what_the_rsvi_gradient_leaves_out_shrinks_with_the_augmentation() -> None:
    truth = special.polygamma(1, 0.5)  # d E[log x] / d alpha
    missing = [abs(rsvi_slope_of_log(0.5, augmentation) / truth - 1) for augmentation in (1, 3, 10)]
    assert missing[0] > 3 * missing[1] > 9 * missing[2]
    assert missing[2] < 1e-3


def nonlinear(log_z: Tensor) -> Tensor:
    """A function of a draw with no closed mean: (num, K) → (num,)."""
    z = log_z.exp()
    return torch.sin(3 * z[:, 0]) * (1 + z[:, 1:]).log().sum(1)


@pytest.mark.parametrize("alphas", [[0.3, 0.5, 0.2], [0.98] * 6, [2.0, 30.0, 7.0, 0.9], [300.0, 100.0]])
def test_the_exact_gradient_agrees_with_torch_distributions_where_that_is_sound(alphas: list[float]) -> None:
    ours, logits = draws(exact_log_gamma, *alphas, num=200_000)
    nonlinear(torch.log_softmax(logits, 1)).sum().backward()
    theirs = torch.tensor(alphas, dtype=torch.float64).repeat(200_000, 1).requires_grad_()
    torch.manual_seed(0)
    nonlinear(torch.distributions.Dirichlet(theirs).rsample().log()).sum().backward()
    difference = ours.grad.double().mean(0) - theirs.grad.mean(0)
    error = (ours.grad.double().var(0) + theirs.grad.var(0)).sqrt() / math.sqrt(200_000)
    assert (difference.abs() < 5 * error).all(), (difference / error).tolist()


@pytest.mark.parametrize(
    ("name", "alphas", "is_sound"),
    [
        ("exact", [0.98] * 10, True),
        ("rsvi", [0.98] * 10, True),
        ("weibull", [8.0] * 4, True),
        ("laplace", [400.0] * 4, True),
        ("paper", [0.02] * 3, True),
        ("paper", [0.98] * 10, False),
        ("laplace", [0.2] * 4, False),
        ("weibull", [0.1] * 3, False),
    ],
)
def test_a_gradient_is_right_within_two_percent_where_its_estimator_is_sound_and_not_elsewhere(
    name: str, alphas: list[float], is_sound: bool
) -> None:
    concentration, logits = draws(ESTIMATORS[name], *alphas, num=400_000)
    torch.log_softmax(logits, 1).exp()[:, 0].sum().backward()
    slopes = concentration.grad.double().numpy()[:, 0]
    total = sum(alphas)
    ratio = slopes.mean() / ((total - alphas[0]) / total**2)  # of E[z_0] = a_0/Σa
    error = slopes.std() / math.sqrt(len(slopes)) * total**2 / (total - alphas[0])
    if is_sound:
        assert abs(ratio - 1) < 5 * error + 0.02
    else:
        assert abs(ratio - 1) > 5 * error + 0.02
