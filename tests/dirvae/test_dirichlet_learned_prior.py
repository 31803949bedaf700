"""A prior fitted to the posteriors by the method of moments: its formula, its state, and what it must survive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import stats

from dirvae.latents import Dirichlet, MomentPrior
from dirvae.latents.dirichlet import DirichletPosterior
from dirvae.latents.dirichlet_density import dirichlet_kl
from dirvae.latents.dirichlet_prior import concentration_from_moments


def learner(size: int, **options) -> MomentPrior:
    return MomentPrior(size, **{"burn_in": 0, "minimum": 1e-3, "maximum": 1e3, **options})


def moments_of(concentration: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    witness = stats.dirichlet(concentration)
    return torch.from_numpy(witness.mean()), torch.from_numpy(witness.var() + witness.mean() ** 2)


@pytest.mark.parametrize("concentration", [[0.3, 1.2], [0.02] * 50, [5.0, 0.1, 40.0], [900.0] * 4])
def test_the_moments_of_a_dirichlet_give_back_its_concentration(concentration: list[float]) -> None:
    fitted = concentration_from_moments(*moments_of(np.array(concentration)))
    np.testing.assert_allclose(fitted, concentration, rtol=1e-8)


def test_sharp_posteriors_drawn_from_a_dirichlet_teach_it() -> None:
    truth = np.array([0.2, 0.5, 1.5])
    points = torch.from_numpy(np.random.default_rng(0).dirichlet(truth, 40_000)).float()
    latent = Dirichlet(3, prior=learner(3), head=torch.nn.Identity(), scale=1.0)
    concentration = (points * 5e3).clamp(min=1e-2)
    latent.posterior(concentration + (-(-concentration).expm1()).log())  # the softplus of it
    np.testing.assert_allclose(latent.prior.concentration, truth, rtol=0.05)


def test_the_moments_are_those_of_the_posteriors_not_of_their_means() -> None:
    concentration = torch.tensor([[2.0, 6.0], [0.5, 0.5], [9.0, 1.0]])
    latent = Dirichlet(2, prior=learner(2), head=torch.nn.Identity(), scale=1.0)
    latent.posterior((concentration - 1e-3).expm1().log())
    mixture = [moments_of(row) for row in concentration.double().numpy()]
    mean, mean_square = (torch.stack(parts).mean(0) for parts in zip(*mixture, strict=True))
    expected = concentration_from_moments(mean, mean_square)
    np.testing.assert_allclose(latent.prior.concentration, expected, rtol=1e-4)


def test_every_cell_of_a_grid_counts_as_an_example() -> None:
    features = torch.randn(6, 4, 3, 2)
    on_grid, flat = (Dirichlet(4, prior=learner(4), head=torch.nn.Identity()) for _ in range(2))
    on_grid.posterior(features)
    flat.posterior(features.movedim(1, -1).reshape(-1, 4))
    torch.testing.assert_close(on_grid.prior.concentration, flat.prior.concentration)


def test_the_averages_are_plain_at_first_and_exponential_later() -> None:
    prior = learner(2, decay=0.7)
    batches = [torch.tensor([[share, 1 - share]]) for share in (0.1, 0.3, 0.6, 0.9, 0.2, 0.5)]
    squares = [batch.square() + 0.01 for batch in batches]
    expected = 0.0
    for number, (batch, square) in enumerate(zip(batches, squares, strict=True)):
        prior.update(batch, square)
        kept = min(0.7, number / (number + 1))
        expected = kept * expected + (1 - kept) * batch[0, 0].item()
        assert prior.moments[0, 0].item() == pytest.approx(expected, rel=1e-6)
    assert prior.num_updates.item() == 6


def test_it_stands_still_during_burn_in_and_moves_after() -> None:
    latent = Dirichlet(4, prior=MomentPrior(4, start=0.7, burn_in=3))
    seen = []
    for _ in range(5):
        latent.posterior(torch.randn(64, 4))
        seen.append(latent.prior.concentration[0].item())
    assert seen[:3] == [pytest.approx(0.7)] * 3
    assert all(value != pytest.approx(0.7, abs=1e-3) for value in seen[3:])


def test_it_learns_in_training_mode_only() -> None:
    latent = Dirichlet(4, prior=learner(4)).eval()
    before = latent.prior.concentration
    latent.posterior(torch.randn(64, 4))
    assert torch.equal(latent.prior.concentration, before)
    latent.train()
    latent.posterior(torch.randn(64, 4))
    assert not torch.equal(latent.prior.concentration, before)


def test_the_kl_is_against_the_prior_as_it_is_now_and_sends_it_no_gradient() -> None:
    latent = Dirichlet(4, prior=learner(4))
    posterior = latent.posterior(torch.randn(16, 4))
    ours = latent.kl(posterior)
    torch.testing.assert_close(ours, dirichlet_kl(posterior.concentration, latent.prior.concentration))
    assert not latent.prior.concentration.requires_grad
    ours.sum().backward()
    assert latent.head.weight.grad.isfinite().all()


def test_two_forward_passes_may_come_before_one_backward_pass() -> None:
    latent = Dirichlet(4, prior=learner(4))
    terms = [latent.kl(latent.posterior(torch.randn(8, 4))).sum() for _ in range(2)]
    sum(terms).backward()
    assert latent.head.weight.grad.abs().sum() > 0


def test_limits_hold_where_nothing_varies_and_where_a_component_dies() -> None:
    prior = MomentPrior(3, burn_in=0, minimum=0.02, maximum=5.0)
    same = torch.tensor([[0.5, 0.5, 0.0]]).expand(8, 3)
    prior.update(same, same.square())
    assert prior.concentration.tolist() == [5.0, 5.0, pytest.approx(0.02)]


def test_an_update_that_is_not_finite_changes_nothing() -> None:
    prior = learner(3)
    prior.update(torch.full((4, 3), 1 / 3), torch.full((4, 3), 0.2))
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    prior.update(torch.tensor([[0.2, torch.nan, 0.8]]), torch.full((1, 3), 0.2))
    assert all(torch.equal(value, before[name]) for name, value in prior.state_dict().items())


def test_a_run_resumed_from_saved_tensors_goes_on_bit_identically(tmp_path: Path) -> None:
    def run(latent: Dirichlet, steps: range) -> None:
        optimizer = torch.optim.SGD(latent.parameters(), lr=0.01)
        for step in steps:
            features = torch.randn(32, 4, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            latent.kl(latent.posterior(features)).mean().backward()
            optimizer.step()

    def fresh() -> Dirichlet:
        torch.manual_seed(0)
        return Dirichlet(4, prior=MomentPrior(4, burn_in=3))

    whole, begun, resumed = fresh(), fresh(), fresh()
    run(whole, range(10))
    run(begun, range(6))
    save_file(begun.state_dict(), tmp_path / "model.safetensors")
    resumed.load_state_dict(load_file(tmp_path / "model.safetensors"))
    run(resumed, range(6, 10))
    assert whole.moment_prior.num_updates.item() == 10
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_a_prior_that_was_handed_out_does_not_change_any_more() -> None:
    latent = Dirichlet(4, prior=learner(4))
    prior = latent.prior
    before = prior.concentration.clone()
    latent.posterior(torch.randn(64, 4))
    assert torch.equal(prior.concentration, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.0}, "decay is 1.0"),
        ({"burn_in": -1}, "burn_in is -1"),
        ({"minimum": 2.0, "maximum": 1.0}, "limits are 2.0 and 1.0"),
        ({"start": -1.0}, "above zero"),
    ],
)
def test_a_wrong_setting_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MomentPrior(3, **options)


def test_learned_by_name_starts_at_the_papers_prior() -> None:
    latent = Dirichlet(50, prior="learned")
    torch.testing.assert_close(latent.prior.concentration, torch.full((50,), 0.98))
    assert isinstance(latent.posterior(torch.randn(2, 50)), DirichletPosterior)
    assert latent.moment_prior.num_updates.item() == 1
