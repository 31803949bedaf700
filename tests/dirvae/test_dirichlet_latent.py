"""The Dirichlet latent as a module: its head, its prior, its precision."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from dirvae.latents import Dirichlet
from dirvae.latents.dirichlet import DirichletPosterior, log_dirichlet_rsample
from dirvae.latents.estimators import paper_log_gamma


def test_the_default_prior_is_the_papers_and_symmetric() -> None:
    torch.testing.assert_close(Dirichlet(50).prior.concentration, torch.full((50,), 0.98))


def test_a_prior_can_be_a_number_or_a_vector() -> None:
    assert Dirichlet(3, prior=2.0).prior.concentration.tolist() == [2, 2, 2]
    assert Dirichlet(3, prior=[0.5, 1, 2]).prior.concentration.tolist() == [0.5, 1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_size": 1}, "at least 2 components"),
        ({"model_size": 3, "prior": [1.0, 2.0]}, "2 concentrations"),
        ({"model_size": 3, "prior": [1.0, 0.0, 2.0]}, "above zero"),
        ({"model_size": 3, "prior": float("nan")}, "finite"),
        ({"model_size": 3, "scale": 0.0}, "scale is 0"),
        ({"model_size": 3, "estimator": "weibul"}, "use one of exact, paper"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dirichlet(**options)


def test_an_untrained_head_starts_sharper_than_the_prior_whatever_its_scale() -> None:
    torch.manual_seed(0)
    for scale in (1.0, 30.0, 1000.0):
        concentration = Dirichlet(32, scale=scale).posterior(torch.randn(256, 32) * 0.3).concentration
        assert 25 < concentration.median() < 35
        assert (concentration > 1).float().mean() > 0.9


@pytest.mark.parametrize(("raw", "limit"), [(-1e6, 1e-3), (1e6, 1e4)])
def test_concentrations_stay_within_their_limits(raw: float, limit: float) -> None:
    latent = Dirichlet(4, head=nn.Identity())
    assert latent.posterior(torch.full((2, 4), raw)).concentration.tolist() == [[pytest.approx(limit)] * 4] * 2


def test_a_given_head_is_used_as_it_is() -> None:
    features = torch.randn(3, 4, 2, 2)
    posterior = Dirichlet(4, head=nn.Identity()).posterior(features)
    torch.testing.assert_close(posterior.concentration, 30 * nn.functional.softplus(features) + 1e-3)
    of_the_paper = Dirichlet(4, head=nn.Identity(), scale=1.0).posterior(features)
    torch.testing.assert_close(of_the_paper.concentration, nn.functional.softplus(features) + 1e-3)


def test_a_given_estimator_draws_the_posterior_but_not_the_prior() -> None:
    def ones(concentration: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        return torch.zeros_like(concentration)

    latent = Dirichlet(4, estimator=ones)
    assert latent.posterior(torch.randn(2, 4)).rsample().tolist() == [[0.25] * 4] * 2
    assert latent.prior.sample(2).unique().numel() == 8
    assert Dirichlet(4, estimator="paper").estimator is paper_log_gamma


def test_inside_bfloat16_autocast_the_latent_computes_in_float32() -> None:
    torch.manual_seed(0)
    latent = Dirichlet(16)
    features = torch.randn(8, 16, 3).bfloat16()
    outside = latent.posterior(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = latent.posterior(features)
        z = inside.rsample(torch.Generator().manual_seed(1))
        kl = latent.kl(inside)
    assert {inside.concentration.dtype, z.dtype, kl.dtype} == {torch.float32}
    assert torch.equal(inside.concentration, outside.concentration)
    assert torch.equal(z, outside.rsample(torch.Generator().manual_seed(1)))
    assert torch.equal(kl, latent.kl(outside))


def test_the_head_gets_gradients_through_a_draw_and_through_kl() -> None:
    latent = Dirichlet(8)
    posterior = latent.posterior(torch.randn(4, 8, 2))
    for value in (posterior.rsample().square().sum(), latent.kl(posterior).sum()):
        latent.zero_grad()
        value.backward(retain_graph=True)
        assert all(weight.grad.abs().sum() > 0 for weight in latent.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_sampler_compiles_without_a_graph_break_forward_and_backward() -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler on the path; neither g++ nor clang++ is there.")
    compiled = torch.compile(log_dirichlet_rsample, fullgraph=True)
    num = 40_000
    concentration = torch.tensor([0.4, 1.5, 6.0]).repeat(num, 1).requires_grad_()
    z = compiled(concentration).exp()
    z[:, 0].sum().backward()
    total = 7.9
    torch.testing.assert_close(z.mean(0), torch.tensor([0.4, 1.5, 6.0]) / total, rtol=0, atol=5e-3)
    slopes = torch.tensor([total - 0.4, -0.4, -0.4]) / total**2  # of E[z_0] = a_0 / total
    torch.testing.assert_close(concentration.grad.mean(0), slopes, rtol=0, atol=5e-3)


def test_the_kl_traces_without_a_graph_break_forward_and_backward() -> None:
    latent = Dirichlet(8)
    traced = torch.compile(lambda value: latent.kl(DirichletPosterior(value)), fullgraph=True, backend="aot_eager")
    concentration = (torch.rand(4, 8, 3) * 5).requires_grad_()
    expected = latent.kl(DirichletPosterior(concentration))
    (slope,) = torch.autograd.grad(expected.sum(), concentration)
    value = traced(concentration)
    value.sum().backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(concentration.grad, slope)
