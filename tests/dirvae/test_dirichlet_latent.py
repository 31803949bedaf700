"""The Dirichlet latent as a module: its head, its prior, its precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dirvae.latents import Dirichlet, MomentPrior
from dirvae.latents.estimators import ESTIMATORS


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
        ({"model_size": 3, "prior": "lerned"}, "'learned' for a Dirichlet's"),
        ({"model_size": 3, "prior": MomentPrior(4)}, "has 4 components; model_size is 3"),
        ({"model_size": 3, "kl": "gamma"}, "use one of dirichlet, multigamma"),
        ({"model_size": 3, "estimator": "weibul"}, "use one of exact, laplace, paper, rsvi, weibull"),
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


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_an_estimator_is_chosen_by_name(name: str) -> None:
    latent = Dirichlet(4, estimator=name)
    posterior = latent.posterior(torch.randn(3, 4, 2))
    generator, again = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    logits = ESTIMATORS[name](posterior.concentration, generator)
    assert torch.equal(posterior.rsample(again), torch.log_softmax(logits, 1).exp())


def test_a_weighted_draw_is_exact_whatever_the_estimator() -> None:
    latent = Dirichlet(5, estimator="paper", prior=2.0)
    posterior = latent.posterior(torch.randn(1, 5).expand(40_000, 5))
    z, weight = latent.weighted_draw(posterior, torch.Generator().manual_seed(0))
    concentration = posterior.concentration[0].detach().double()
    expected = concentration / concentration.sum()
    spread = (expected * (1 - expected) / (concentration.sum() + 1)).sqrt()
    torch.testing.assert_close(z.detach().double().std(0), spread, rtol=0.03, atol=0)
    assert abs(weight.mean() + latent.kl(posterior)[0]) < 5 * weight.std() / 200


def test_the_head_gets_gradients_through_a_draw_and_through_kl() -> None:
    latent = Dirichlet(8)
    posterior = latent.posterior(torch.randn(4, 8, 2))
    for value in (posterior.rsample().square().sum(), latent.kl(posterior).sum()):
        latent.zero_grad()
        value.backward(retain_graph=True)
        assert all(weight.grad.abs().sum() > 0 for weight in latent.parameters())
