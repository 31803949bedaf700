"""What every latent must do, whichever it is: a new one is added to the dictionary and held to this."""

from __future__ import annotations

import pytest
import torch

from dirvae.latents import LATENTS, Latent, make_latent

GRIDS = [(), (5,), (3, 2), (2, 3, 4)]


@pytest.fixture(params=sorted(LATENTS))
def latent(request: pytest.FixtureRequest) -> Latent:
    torch.manual_seed(0)
    return make_latent(request.param, 6)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_shapes_follow_the_features_on_any_grid(latent: Latent, grid: tuple[int, ...]) -> None:
    posterior = latent.posterior(torch.randn(4, 6, *grid))
    z = posterior.rsample()
    assert z.shape == posterior.mean.shape == (4, 6, *grid)
    assert all(value.shape == (4, 6, *grid) for value in posterior.parameters.values())
    assert latent.kl(posterior).shape == posterior.log_prob(z).shape == (4,)
    assert latent.prior.sample(3, *grid).shape == (3, 6, *grid)
    assert latent.prior.log_prob(z).shape == (4,)
    assert latent.prior.mean.shape == latent.prior.stddev.shape == (6,)


def test_each_grid_cell_is_a_latent_of_its_own(latent: Latent) -> None:
    features = torch.randn(2, 6, 3, 4)
    whole = latent.posterior(features)
    cell = latent.posterior(features[:, :, 1, 2])
    torch.testing.assert_close(whole.mean[:, :, 1, 2], cell.mean)


def test_kl_is_the_mean_log_ratio_of_the_densities(latent: Latent) -> None:
    posterior = latent.posterior(torch.randn(1, 6).expand(40_000, 6))
    z = posterior.rsample(torch.Generator().manual_seed(1)).detach()
    ratios = posterior.log_prob(z) - latent.prior.log_prob(z)
    standard_error = ratios.std() / len(ratios) ** 0.5
    assert abs(ratios.mean() - latent.kl(posterior)[0]) < 5 * standard_error


def test_draws_have_the_mean_that_is_promised(latent: Latent) -> None:
    posterior = latent.posterior(torch.randn(1, 6).expand(20_000, 6))
    z = posterior.rsample(torch.Generator().manual_seed(2))
    assert (abs(z.mean(0) - posterior.mean[0]) < 5 * z.std(0) / len(z) ** 0.5).all()
    drawn = latent.prior.sample(20_000, generator=torch.Generator().manual_seed(3))
    assert (abs(drawn.mean(0) - latent.prior.mean) < 5 * latent.prior.stddev / len(drawn) ** 0.5).all()
    torch.testing.assert_close(drawn.std(0), latent.prior.stddev, rtol=0.05, atol=0)


def test_a_latent_is_restored_from_its_state(latent: Latent) -> None:
    name = next(name for name, kind in LATENTS.items() if type(latent) is kind)
    other, features = make_latent(name, 6), torch.randn(3, 6)
    assert not torch.equal(other.posterior(features).mean, latent.posterior(features).mean)
    other.load_state_dict(latent.state_dict())
    assert torch.equal(other.posterior(features).mean, latent.posterior(features).mean)


def test_an_unknown_latent_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ValueError, match="'gamma'; use one of dirichlet, gaussian"):
        make_latent("gamma", 4)
