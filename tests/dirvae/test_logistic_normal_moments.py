"""Moments of the logistic-normal, against SciPy's adaptive quadrature, symmetry, draws and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from dirvae.latents.logistic_normal import LogisticNormal, LogisticNormalPosterior
from dirvae.latents.logistic_normal_moments import logistic_normal_moments


def some(*shape: int, largest: float = 3.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(0, 2, shape)), torch.from_numpy(rng.uniform(0.1, largest, shape))


def of_two(location: list[float], scale: list[float], power: int) -> float:
    """E[z_0^power] for two components: one normal, the difference of the logits."""
    center, width = location[0] - location[1], math.hypot(*scale)

    def integrand(y: float) -> float:
        return float(special.expit(y) ** power * stats.norm.pdf(y, center, width))

    middle = [min(max(0.0, center - 8 * width), center + 8 * width)]
    return float(
        integrate.quad(
            integrand, center - 9 * width, center + 9 * width, points=middle, epsabs=1e-13, epsrel=1e-12, limit=500
        )[0]
    )


def of_three(location: list[float], scale: list[float], power: int) -> float:
    """E[z_0^power] for three components by a fine product rule over the three normals."""
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    grids = np.meshgrid(points, points, points, indexing="ij")
    total = np.einsum("i,j,k->ijk", weights, weights, weights) / weights.sum() ** 3
    logits = [center + width * grid for center, width, grid in zip(location, scale, grids, strict=True)]
    share = special.softmax(np.stack(logits), axis=0)[0]
    return float((share**power * total).sum())


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(
    ("location", "scale", "error"),
    [
        ([0.3, -0.4], [0.5, 1.0], 1e-8),
        ([2.0, -1.0], [1e-4, 0.01], 1e-8),
        ([-3.0, 1.0], [1.0, 1.0], 1e-8),
        ([4.0, -1.0], [2.0, 3.0], 1e-8),
        ([0.0, 1.0], [20.0, 30.0], 1e-8),
        ([1.0, 0.0], [0.1, 30.0], 1e-4),
        ([1e6, 1e6 - 1], [0.5, 0.7], 1e-8),
    ],
)
def test_of_two_components_they_are_those_of_adaptive_quadrature(
    location: list[float], scale: list[float], error: float, power: int
) -> None:
    ours = logistic_normal_moments(torch.tensor([location]).double(), torch.tensor([scale]).double())[power - 1]
    assert ours[0, 0].item() == pytest.approx(of_two(location, scale, power), abs=error * 10 ** (power - 1))


@pytest.mark.parametrize(
    ("smallest", "largest", "error"),
    [(0.01, 1.0, 1e-8), (1.0, 1.75, 1e-6), (1.76, 30.0, 1e-8), (0.05, 10.0, 1e-6), (0.05, 30.0, 1e-4)],
)
def test_they_are_as_exact_as_is_said(smallest: float, largest: float, error: float) -> None:
    rng = np.random.default_rng(0)
    location, scale = rng.normal(0, 2, (1000, 2)), np.exp(rng.uniform(*np.log((smallest, largest)), (1000, 2)))
    points = np.linspace(-12, 12, 8001)
    weights = np.exp(-0.5 * points**2) / np.exp(-0.5 * points**2).sum()
    moments = logistic_normal_moments(torch.from_numpy(location), torch.from_numpy(scale))
    for power, ours in enumerate(moments, 1):
        off = [
            abs(special.expit(center + width * points) ** power @ weights - value)
            for center, width, value in zip(
                location[:, 0] - location[:, 1], np.hypot(*scale.T), ours[:, 0].numpy(), strict=True
            )
        ]
        assert max(off) < error * 10 ** (power - 1)


@pytest.mark.parametrize("size", [2, 4, 50])
def test_a_sharp_prior_keeps_the_digits_of_its_deviation(size: int) -> None:
    """To first order z - 1/K is the logits' spread, centred, over K."""
    prior = LogisticNormal(size, prior=1e6).prior
    expected = math.sqrt(1 - 1 / size) / size * prior.scale[0].item()
    assert prior.stddev.tolist() == pytest.approx([expected] * size, rel=1e-4)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(
    ("location", "scale"), [([0.5, -0.5, 1.0], [0.3, 0.8, 0.5]), ([-2.0, 1.0, 0.0], [1.0, 0.2, 0.9])]
)
def test_of_three_components_they_are_those_of_a_product_rule(
    location: list[float], scale: list[float], power: int
) -> None:
    ours = logistic_normal_moments(torch.tensor([location]).double(), torch.tensor([scale]).double())[power - 1]
    assert ours[0, 0].item() == pytest.approx(of_three(location, scale, power), abs=1e-8 * 10 ** (power - 1))


@pytest.mark.parametrize("largest", [1.0, 3.0])
def test_of_many_components_they_are_those_of_draws(largest: float) -> None:
    location, scale = some(4, 50, largest=largest)
    z = np.random.default_rng(5).normal(location.numpy(), scale.numpy(), (40_000, 4, 50))
    z = special.softmax(z, axis=2)
    for power, ours in enumerate(logistic_normal_moments(location, scale), 1):
        error = (z**power).std(0) / math.sqrt(len(z))
        assert (np.abs(ours.numpy() - (z**power).mean(0)) / error).max() < 5


@pytest.mark.parametrize("size", [2, 30, 4096])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 2.5, 40.0])
def test_components_all_alike_have_equal_shares(size: int, scale: float) -> None:
    mean, mean_square = logistic_normal_moments(torch.full((1, size), 7.0), torch.full((1, size), scale))
    torch.testing.assert_close(mean, torch.full((1, size), 1 / size), rtol=1e-5, atol=0)
    assert len(set(mean_square[0].tolist())) == 1
    assert 1 / size**2 * (1 - 1e-5) < mean_square[0, 0].item() < 1 / size


def test_float32_keeps_the_digits_of_every_share_however_small() -> None:
    location, scale = some(3, 4096, largest=1.0)
    exact, ours = (
        logistic_normal_moments(location, scale)[0],
        logistic_normal_moments(location.float(), scale.float())[0],
    )
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), exact, rtol=3e-6, atol=0)
    torch.testing.assert_close(exact.sum(1), torch.ones(3).double())


def test_without_spread_they_are_the_softmax() -> None:
    location, _ = some(3, 20)
    mean, mean_square = logistic_normal_moments(location, torch.full((3, 20), 1e-6).double())
    torch.testing.assert_close(mean, location.softmax(1))
    torch.testing.assert_close(mean_square, location.softmax(1).square())


def test_far_apart_logits_leave_nothing_that_is_not_finite() -> None:
    location = torch.tensor([[-1e4, 0.0, 1e4], [50.0, 0.0, -80.0]], requires_grad=True)
    scale = torch.tensor([[1.0, 100.0, 1e-4], [3.0, 1e-4, 1e3]], requires_grad=True)
    mean = logistic_normal_moments(location, scale)[0]
    mean[:, 0].sum().backward()
    assert mean[0].tolist() == [0.0, 0.0, 1.0]
    assert mean.isfinite().all()
    assert location.grad.isfinite().all()
    assert scale.grad.isfinite().all()


@pytest.mark.parametrize(("largest", "error"), [(1.0, 1e-7), (6.0, 1e-4)])
def test_their_gradients_are_those_of_finite_differences(largest: float, error: float) -> None:
    location, scale = some(3, 6, largest=largest)
    arguments = (location.requires_grad_(), scale.requires_grad_())
    assert torch.autograd.gradcheck(logistic_normal_moments, arguments, atol=error)


def test_a_cell_has_the_same_mean_alone_and_among_others() -> None:
    location, scale = some(300, 5, 3, 2)
    whole = LogisticNormalPosterior(location, scale).mean
    assert whole.shape == (300, 5, 3, 2)
    torch.testing.assert_close(whole[250:], LogisticNormalPosterior(location[250:], scale[250:]).mean)
    cell = LogisticNormalPosterior(location[7:8, :, 2, 1], scale[7:8, :, 2, 1]).mean
    torch.testing.assert_close(whole[7:8, :, 2, 1], cell)


@pytest.mark.parametrize("largest", [1.0, 6.0])
def test_the_mean_traces_without_a_graph_break(largest: float) -> None:
    posterior = LogisticNormalPosterior(*(value.float() for value in some(3, 6, largest=largest)))

    def mean(location: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return LogisticNormalPosterior(location, scale).mean

    torch.compiler.reset()
    traced = torch.compile(mean, fullgraph=True, backend="eager")
    torch.testing.assert_close(traced(posterior.location, posterior.scale), posterior.mean)
