"""Priors fitted after training: their densities by quadrature, what they are fitted to, and their file in a run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import nn

from dirvae import AutoEncoder, ResNetVAE, load_model
from dirvae.latents.dirichlet import DirichletPosterior
from dirvae.latents.fitted_prior import FittedPrior, fit_prior_to, log_ratios, shares_of
from dirvae.latents.gaussian_mixture import GaussianMixture, fit_gaussian_mixture
from dirvae.train import main

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def two_clusters(num: int = 400) -> torch.Tensor:
    """Shares of three components around two points of the simplex."""
    generator = torch.Generator().manual_seed(0)
    parts = [torch.tensor([[60.0, 30.0, 10.0]]), torch.tensor([[5.0, 20.0, 75.0]])]
    return torch.cat([DirichletPosterior(part.expand(num, 3)).rsample(generator) for part in parts])


def test_log_ratios_are_isometric_and_come_back() -> None:
    rows = two_clusters(5).double()
    ratios = log_ratios(rows)
    torch.testing.assert_close(shares_of(ratios), rows)
    centred = rows.log() - rows.log().mean(1, keepdim=True)  # Aitchison's geometry
    torch.testing.assert_close(torch.cdist(ratios, ratios), torch.cdist(centred, centred))


def test_its_density_on_the_simplex_integrates_to_one_and_gives_the_moments_of_its_draws() -> None:
    prior = fit_prior_to(two_clusters(), num_parts=2)

    def density(b: float, a: float) -> float:
        return float(prior.log_prob(torch.tensor([[a, b, 1 - a - b]], dtype=torch.float64)).exp())

    def over(f: object) -> float:
        cells = (np.arange(160) + 0.5) / 160  # a triangle, by Duffy's map of the square
        a, s = np.meshgrid(cells, cells)
        b = (1 - a) * s
        z = torch.from_numpy(np.stack([a, b, 1 - a - b], -1).reshape(-1, 3))
        values = prior.log_prob(z).exp().numpy() * (1 - a).ravel() * f(z.numpy())  # type: ignore[operator]
        return float(values.mean())

    assert over(lambda z: 1.0) == pytest.approx(1, abs=2e-3)
    drawn = prior.sample(20_000, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.sum(1), torch.ones(20_000))
    for k in range(3):
        assert over(lambda z, k=k: z[:, k]) == pytest.approx(float(drawn[:, k].mean()), abs=0.01)
    torch.testing.assert_close(prior.mean, drawn.mean(0), atol=0.01, rtol=0)
    torch.testing.assert_close(prior.stddev, drawn.std(0), atol=0.01, rtol=0)
    assert density(0.3, 0.6) > 100 * density(0.9, 0.05)


def test_one_normal_of_two_components_is_the_logit_normal() -> None:
    mixture = GaussianMixture(
        torch.ones(1).double(), torch.full((1, 1), 0.4).double(), torch.full((1, 1, 1), 0.8).double()
    )
    prior = FittedPrior(mixture, True, torch.zeros(2), torch.zeros(2))
    for share in (0.05, 0.4, 0.9):
        logit = math.log(share / (1 - share)) / math.sqrt(2)
        expected = stats.norm(0.4, 0.8).logpdf(logit) - math.log(share * (1 - share)) - math.log(math.sqrt(2))
        found = prior.log_prob(torch.tensor([[share, 1 - share]]).double())
        assert found.item() == pytest.approx(expected, abs=1e-6)
    whole, _ = integrate.quad(lambda s: float(prior.log_prob(torch.tensor([[s, 1 - s]]).double()).exp()), 0, 1)
    assert whole == pytest.approx(1, abs=1e-4)


def test_a_mixture_finds_the_parts_that_points_come_from_and_never_fits_worse_than_one_normal() -> None:
    rng = np.random.default_rng(0)
    means, sizes = np.array([[0.0, 0.0], [6.0, 1.0], [-4.0, 5.0]]), (300, 600, 100)
    points = torch.from_numpy(
        np.concatenate([rng.normal(m, 0.7, (n, 2)) for m, n in zip(means, sizes, strict=True)])
    )
    mixture = fit_gaussian_mixture(points, 3, seed=1)
    order = mixture.weights.argsort()
    np.testing.assert_allclose(mixture.weights[order], [0.1, 0.3, 0.6], atol=0.01)
    np.testing.assert_allclose(mixture.means[order], means[[2, 0, 1]], atol=0.2)
    law = [
        stats.multivariate_normal(m, f @ f.T)
        for m, f in zip(mixture.means.numpy(), mixture.factors.numpy(), strict=True)
    ]
    expected = np.log(
        sum(w * part.pdf(points.numpy()) for w, part in zip(mixture.weights.numpy(), law, strict=True))
    )
    np.testing.assert_allclose(mixture.log_prob(points), expected, rtol=1e-8)
    assert mixture.log_prob(points).mean() > fit_gaussian_mixture(points, 1).log_prob(points).mean() + 0.5
    with pytest.raises(ValueError, match="1 points were given"):
        fit_gaussian_mixture(points[:1], 3)


@pytest.mark.parametrize("latent", ["dirichlet", "gaussian"])
def test_a_model_samples_from_what_was_fitted_and_stays_what_it_was(latent: str) -> None:
    torch.manual_seed(0)
    model = AutoEncoder(nn.Linear(5, 4), nn.Linear(4, 5), 4, latent=latent).train()
    x = torch.rand(40, 5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    prior = model.fit_prior([x[:30], x[30:]], num_parts=2, seed=3)
    assert model.training
    assert model.fitted_prior is prior
    assert model.state_dict().keys() == before.keys()
    again = model.fit_prior([x[:30], x[30:]], num_parts=2, seed=3)
    assert all(torch.equal(value, again.tensors()[name]) for name, value in prior.tensors().items())
    with torch.no_grad():
        z = torch.cat([model.encode(x).rsample(torch.Generator().manual_seed(n)) for n in range(50)])
    drawn = prior.sample(4000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), z.mean(0), atol=0.1, rtol=0.1)
    assert model.sample(3, prior=prior, generator=torch.Generator().manual_seed(1)).shape == (3, 5)
    with pytest.raises(ValueError, match="no example was given"):
        model.fit_prior([])


def test_bytes_and_padding_are_read_as_a_feed_reads_them_and_a_grid_is_fitted_cell_by_cell() -> None:
    torch.manual_seed(0)
    model = ResNetVAE(16, grid=4, model_size=3)
    pixels = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)

    class Padded:
        data = torch.cat([pixels, pixels[:2] * 0])
        mask = torch.arange(10) < 8

    ours = model.fit_prior([Padded()], num_parts=1).tensors()
    theirs = model.fit_prior([pixels.float() / 255], num_parts=1).tensors()
    torch.testing.assert_close(ours["means"], theirs["means"], rtol=1e-3, atol=1e-3)
    assert model.sample(2, prior=model.fitted_prior).shape == (2, 3, 16, 16)


@pytest.mark.parametrize("levels", ["vector", "both"])
def test_a_run_keeps_the_prior_that_it_fitted_and_shows_its_samples(
    levels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "image"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(12):
        (folder / f"{number:02d}.ppm").write_bytes(b"P6\n16 16\n255\n" + rng.bytes(768))
    flags = ["--size", "16", "--batch-size", "4", "--model-size", "4", "--kl-warmup", "1", "--held-out", "0.25"]
    assert main([*flags, "--steps", "2", "--threads", "1", "--device", "cpu", "--levels", levels]) == 0
    prior = load_model("runs/image", which="last").fitted_prior
    assert prior.mean.shape == (4,)
    assert "Samples from a fitted prior" in Path("runs/image/report.html").read_text("utf-8")
    assert Path("runs/image/pictures/samples-fitted.png").exists()
    assert main(["--resume", "--steps", "3"]) == 0
    again = load_model("runs/image", which="last").fitted_prior
    assert not torch.equal(again.mean, prior.mean)
    assert load_model("runs/image", which=2).fitted_prior is None  # it was fitted after step 3
