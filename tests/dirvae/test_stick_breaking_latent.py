"""Stick-breaking and the Kumaraswamy distribution under it, against 40-digit arithmetic, torch and SciPy."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Generator, nn

from dirvae.latents import StickBreaking
from dirvae.latents.kumaraswamy import (
    beta_log_prob,
    kumaraswamy_kl_from_beta,
    kumaraswamy_log_prob,
    log_complement,
    log_kumaraswamy_moment,
    log_kumaraswamy_rsample,
)
from dirvae.latents.stick_breaking import StickBreakingPosterior, log_shares_to_breaks, log_sticks_to_shares

LIMITS = (1e-3, 0.3, 1.0, 6.0, 1e4)


def scalar(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


def kl_in_40_digits(a: float, b: float, prior_b: float) -> float:
    """KL(Kumaraswamy(a, b) ‖ Beta(1, prior_b)), E log(1 - v) by quadrature over the uniform of the inverse CDF."""
    edges = [0, 1e-12, 1e-6, 1e-3, 0.02, 0.1, 0.3, 0.6, 0.9, 0.99, 0.9999, 1]
    with mpmath.workdps(40):
        p, q = mpmath.mpf(a), mpmath.mpf(b)

        def log_rest(uniform: mpmath.mpf) -> mpmath.mpf:
            surprise = -mpmath.log(uniform) / q  # 1 - v^a = exp(-surprise)
            if surprise > 80:
                return -surprise - mpmath.log(p)
            return mpmath.log(-mpmath.expm1(mpmath.log(-mpmath.expm1(-surprise)) / p))

        mean_log_v = -(mpmath.euler + mpmath.digamma(q) + 1 / q) / p
        value = mpmath.log(p * q) + (p - 1) * mean_log_v - (q - 1) / q + mpmath.log(mpmath.beta(1, prior_b))
        return float(value - (prior_b - 1) * mpmath.quad(log_rest, edges))


def our_kl(a: float, b: float, prior_b: float) -> float:
    return kumaraswamy_kl_from_beta(scalar(a), scalar(b), scalar(1), scalar(prior_b)).item()


@pytest.mark.parametrize("a", LIMITS)
@pytest.mark.parametrize("b", LIMITS)
def test_kl_is_right_over_the_whole_range(a: float, b: float) -> None:
    assert our_kl(a, b, 5.0) == pytest.approx(kl_in_40_digits(a, b, 5.0), rel=3e-7, abs=2e-6)


@pytest.mark.parametrize(("a", "b"), [(0.3, 6.0), (1.0, 1.0), (6.0, 6.0), (50.0, 2.0)])
def test_kl_is_that_of_the_whole_series_and_ten_terms_of_it_are_below(a: float, b: float) -> None:
    def term(m: float) -> mpmath.mpf:
        return b / (m + mpmath.mpf(a) * b) * mpmath.beta(m / mpmath.mpf(a), b)

    closed = math.log(a * b) + (a - 1) * -(np.euler_gamma + special.digamma(b) + 1 / b) / a - (b - 1) / b
    closed += special.betaln(1, 5.0)
    whole, cut = mpmath.nsum(term, [1, mpmath.inf]), mpmath.fsum(term(m) for m in range(1, 11))
    assert our_kl(a, b, 5.0) == pytest.approx(closed + 4 * float(whole), abs=2e-6)
    assert closed + 4 * float(cut) < our_kl(a, b, 5.0)


def test_kl_is_zero_at_the_prior_and_nowhere_below() -> None:
    for b in (0.2, 1.0, 5.0, 300.0):
        assert our_kl(1.0, b, b) == pytest.approx(0, abs=1e-6 * max(b, 1))
    a, b = (torch.from_numpy(10 ** np.random.default_rng(0).uniform(-3, 4, 500)) for _ in range(2))
    assert (kumaraswamy_kl_from_beta(a, b.flip(0), torch.ones_like(a), torch.full_like(a, 5.0)) > 0).all()


def test_the_gradient_of_kl_is_its_finite_difference() -> None:
    a, b = torch.tensor([0.2, 1.0, 7.0, 40.0]).double(), torch.tensor([3.0, 0.4, 1.0, 90.0]).double()
    one, five = torch.ones_like(a), torch.full_like(a, 5.0)
    arguments = (a.requires_grad_(), b.requires_grad_())
    assert torch.autograd.gradcheck(lambda p, q: kumaraswamy_kl_from_beta(p, q, one, five), arguments)


def log_survival(log_v: np.ndarray, log_rest: np.ndarray, a: float, b: float) -> np.ndarray:
    """log P(V > v) = b log(1 - v^a), from whichever of log v and log(1 - v) resolves v."""
    with np.errstate(divide="ignore"):
        from_v = np.log1p(-np.exp(a * log_v))
        from_rest = np.log(-np.expm1(a * np.log1p(-np.exp(log_rest))))
    in_tail = log_rest + math.log(a)  # 1 - v^a = a (1 - v) there
    return b * np.where(log_v < -1e-3, from_v, np.where(log_rest < -30, in_tail, from_rest))


@pytest.mark.parametrize("a", LIMITS)
@pytest.mark.parametrize("b", LIMITS)
def test_draws_have_the_law_at_both_of_its_ends(a: float, b: float) -> None:
    num = 20_000
    log_v, log_rest = log_kumaraswamy_rsample(
        scalar(a).expand(num), scalar(b).expand(num), Generator().manual_seed(0)
    )
    assert log_v.isfinite().all()
    assert log_rest.isfinite().all()
    surprise = -log_survival(log_v.numpy(), log_rest.numpy(), a, b)
    assert stats.kstest(surprise, "expon").pvalue > 1e-4  # 1 - CDF is uniform


@pytest.mark.parametrize("a", [1e-3, 0.4, 1e4])
def test_draws_and_density_are_right_to_the_far_tail_where_v_is_one(a: float) -> None:
    b, num = 0.02, 60
    generator = Generator().manual_seed(0)
    log_v, log_rest = log_kumaraswamy_rsample(scalar(a).expand(num), scalar(b).expand(num), generator)
    density = kumaraswamy_log_prob(log_v, log_rest, scalar(a), scalar(b))
    surprises = torch.empty(num, dtype=torch.float64).exponential_(generator=Generator().manual_seed(0)) / b
    assert surprises.min() < 5 < 40 < surprises.max()
    for index, surprise in enumerate(surprises.tolist()):
        with mpmath.workdps(int(surprise) + 60):
            v = (1 - mpmath.exp(-mpmath.mpf(surprise))) ** (1 / mpmath.mpf(a))
            expected = mpmath.log(a * b) + (a - 1) * mpmath.log(v) - (b - 1) * mpmath.mpf(surprise)
            assert log_v[index].item() == pytest.approx(float(mpmath.log(v)), rel=1e-9, abs=1e-300)
            assert log_rest[index].item() == pytest.approx(float(mpmath.log(1 - v)), rel=1e-9, abs=1e-15)
            assert density[index].item() == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.5), (1.0, 5.0), (6.0, 2.0), (30.0, 400.0)])
def test_density_and_moments_are_those_of_torch(a: float, b: float) -> None:
    witness = torch.distributions.Kumaraswamy(scalar(a), scalar(b))
    v = torch.linspace(0.4, 0.98, 25, dtype=torch.float64)
    ours = kumaraswamy_log_prob(v.log(), torch.log1p(-v), scalar(a), scalar(b))
    torch.testing.assert_close(ours, witness.log_prob(v))
    torch.testing.assert_close(log_kumaraswamy_moment(scalar(a), scalar(b)).exp(), witness.mean)
    mean_square = witness.variance + witness.mean.square()
    torch.testing.assert_close(log_kumaraswamy_moment(scalar(a), scalar(b), 2).exp(), mean_square)
    np.testing.assert_allclose(
        beta_log_prob(v.log(), torch.log1p(-v), scalar(a), scalar(b)), stats.beta.logpdf(v, a, b)
    )


def test_a_complement_keeps_what_the_other_end_has_lost() -> None:
    for log_p in (-1e-20, -1e-9, -0.3, -0.693, -0.694, -5.0, -50.0, -700.0):
        with mpmath.workdps(60):
            expected = float(mpmath.log(-mpmath.expm1(mpmath.mpf(log_p))))
        assert log_complement(scalar(log_p)).item() == pytest.approx(expected, rel=1e-14)
    assert log_complement(scalar(0.0)).isfinite().all()


def test_breaks_and_shares_are_each_others_inverse_to_the_last_stick() -> None:
    log_v, log_rest = log_kumaraswamy_rsample(
        torch.full((200, 30, 2), 0.5).double(), torch.full((200, 30, 2), 0.2).double(), Generator().manual_seed(0)
    )
    log_z = log_sticks_to_shares(log_v, log_rest)
    torch.testing.assert_close(log_z.logsumexp(1), torch.zeros(200, 2).double(), rtol=0, atol=1e-12)
    again_v, again_rest, log_left = log_shares_to_breaks(log_z)
    torch.testing.assert_close(again_rest, log_rest, rtol=1e-9, atol=1e-9)
    is_resolved = log_rest > -30  # below, v is 1 to the last bit of the shares
    torch.testing.assert_close(again_v[is_resolved], log_v[is_resolved], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_left[:, 1:], log_rest[:, :-1].cumsum(1), rtol=1e-9, atol=1e-9)


def test_the_density_of_shares_holds_where_one_break_takes_all_but_nothing() -> None:
    second = torch.tensor([-2.0, -20.0, -30.0, -36.0, -39.0, -60.0, -300.0], dtype=torch.float64)
    log_rest = torch.stack(
        [torch.full_like(second, -1.3), second], dim=1
    )  # log z_1 cannot hold how far v_1 is from 1
    log_v = log_complement(log_rest)
    posterior = StickBreakingPosterior(torch.full((7, 2), 0.5), torch.full((7, 2), 0.25))
    ours = posterior.log_prob_of_log(log_sticks_to_shares(log_v, log_rest))
    expected = kumaraswamy_log_prob(log_v, log_rest, scalar(0.5), scalar(0.25)).sum(1) + 1.3
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_the_density_of_shares_is_that_of_the_breaks_and_a_jacobian() -> None:
    a, b = np.array([0.7, 2.0, 3.0]), np.array([1.5, 0.6, 4.0])
    z = np.random.default_rng(0).dirichlet(np.full(4, 1.5), 10)
    left = 1 - np.concatenate([np.zeros((10, 1)), z.cumsum(1)[:, :2]], axis=1)
    v = z[:, :3] / left
    expected = (np.log(a * b) + (a - 1) * np.log(v) + (b - 1) * np.log1p(-(v**a)) - np.log(left)).sum(1)
    posterior = StickBreakingPosterior(*(torch.from_numpy(value).expand(10, 3) for value in (a, b)))
    np.testing.assert_allclose(posterior.log_prob(torch.from_numpy(z)), expected, rtol=1e-9)


def test_the_prior_with_the_right_breaks_is_the_uniform_dirichlet() -> None:
    latent = StickBreaking(5)
    latent.prior_b.copy_(torch.tensor([4.0, 3.0, 2.0, 1.0]))  # Beta(1, K - k) breaks
    z = torch.from_numpy(np.random.default_rng(0).dirichlet(np.full(5, 0.6), 20))
    witness = stats.dirichlet(np.ones(5))
    np.testing.assert_allclose(latent.prior.log_prob(z), np.full(20, math.log(math.factorial(4))), rtol=1e-9)
    np.testing.assert_allclose(latent.prior.mean, witness.mean(), rtol=1e-6)
    np.testing.assert_allclose(latent.prior.stddev, np.sqrt(witness.var()), rtol=1e-5)


@pytest.mark.parametrize("limit", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("other", [1e-3, 1.0, 1e4])
def test_values_and_gradients_are_finite_at_the_limits(limit: float, other: float) -> None:
    a, b = (torch.full((4, 511), value, requires_grad=True) for value in (limit, other))
    latent = StickBreaking(512, a_head=nn.Identity(), b_head=nn.Identity())
    posterior = StickBreakingPosterior(a, b)
    log_z = posterior.log_rsample(Generator().manual_seed(0))
    density, kl = posterior.log_prob_of_log(log_z.detach()), latent.kl(posterior)
    for value in (log_z, posterior.mean, density, kl, latent.prior.log_prob_of_log(log_z.detach())):
        assert value.isfinite().all()
    (log_z.exp().square().sum() + posterior.mean.square().sum() + kl.sum() + density.sum()).backward()
    assert a.grad.isfinite().all()
    assert b.grad.isfinite().all()


def test_an_untrained_latent_starts_around_its_prior() -> None:
    torch.manual_seed(0)
    posterior = StickBreaking(20, prior=3.0).posterior(torch.randn(400, 20) * 0.3)
    assert 0.9 < posterior.a.median() < 1.1
    assert 2.8 < posterior.b.median() < 3.2


def test_parameters_stay_within_their_limits() -> None:
    latent = StickBreaking(3, a_head=nn.Linear(3, 2), b_head=nn.Linear(3, 2))
    posterior = latent.posterior(torch.tensor([[1e9, -1e9, 1e9], [-1e9, 1e9, 1e9]]))
    for value in posterior.parameters.values():
        assert value.min() >= 1e-3
        assert value.max() <= 1e4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_size": 1}, "at least 2"),
        ({"model_size": 3, "prior": 0.0}, "prior is 0"),
        ({"model_size": 3, "prior": math.inf}, "finite"),
    ],
)
def test_a_wrong_setting_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StickBreaking(**options)
