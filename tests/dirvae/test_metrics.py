"""Measures, on latents and images whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dirvae.metrics import active_units, components_in_use, effective_components, psnr


def test_psnr_is_each_examples_own_and_from_its_definition() -> None:
    x = torch.zeros(2, 3, 4, 4)
    y = torch.stack([torch.full((3, 4, 4), 0.1), torch.full((3, 4, 4), 0.01)])
    torch.testing.assert_close(psnr(x, y), torch.tensor([20.0, 40.0]))
    torch.testing.assert_close(psnr(x * 255, y * 255, peak=255.0), torch.tensor([20.0, 40.0]))


def test_psnr_of_equal_images_is_infinite() -> None:
    assert psnr(torch.ones(1, 2), torch.ones(1, 2)).item() == math.inf


def test_a_component_is_in_use_when_it_is_large_enough_and_varies_enough() -> None:
    swing = torch.tensor([-1.0, 1.0]).repeat(50)
    size = 4
    z = torch.stack(
        [
            0.25 + 0.2 * swing,  # large, varies
            torch.full((100,), 0.3),  # large, does not vary
            0.03 + 0.03 * swing,  # varies, below 0.2/K = 0.05
            0.42 - 0.23 * swing,  # the rest
        ],
        dim=1,
    )
    torch.testing.assert_close(z.sum(1), torch.ones(100))
    assert components_in_use(z).tolist() == [True, False, False, True]
    assert components_in_use(z).shape == (size,)


def test_the_limits_of_use_are_a_fifth_of_an_equal_share_and_a_tenth_of_the_mean() -> None:
    swing = torch.tensor([-1.0, 1.0]).repeat(10)
    just_too_still = torch.stack([0.5 + 0.049 * swing, 0.5 - 0.049 * swing], 1)
    just_enough = torch.stack([0.5 + 0.051 * swing, 0.5 - 0.051 * swing], 1)
    assert components_in_use(just_too_still).tolist() == [False, False]
    assert components_in_use(just_enough).tolist() == [True, True]
    small = torch.stack([0.099 + 0.05 * swing, 0.901 - 0.05 * swing], 1)
    larger = torch.stack([0.101 + 0.05 * swing, 0.899 - 0.05 * swing], 1)
    assert not components_in_use(small)[0]
    assert components_in_use(larger)[0]


def test_every_grid_cell_counts_as_an_example() -> None:
    z = torch.from_numpy(np.random.default_rng(0).dirichlet([0.5] * 6, (8, 3, 5))).movedim(-1, 1)
    flat = z.movedim(1, -1).reshape(-1, 6)
    assert torch.equal(components_in_use(z), components_in_use(flat))
    torch.testing.assert_close(effective_components(z), effective_components(flat))
    assert torch.equal(active_units(z), active_units(flat))


def test_effective_components_are_as_many_as_share_the_mean() -> None:
    assert effective_components(torch.full((5, 8), 1 / 8)).item() == pytest.approx(8)
    assert effective_components(torch.eye(4)[[0, 1, 0, 1]]).item() == pytest.approx(2)
    assert effective_components(torch.eye(4)[[2, 2]]).item() == pytest.approx(1)


def test_units_are_active_by_the_variance_of_their_posterior_mean() -> None:
    swing = torch.tensor([-1.0, 1.0]).repeat(10)
    means = torch.stack([0.11 * swing, 0.09 * swing, torch.full((20,), 5.0)], 1)
    assert active_units(means).tolist() == [True, False, False]
    assert active_units(means, threshold=0.005).tolist() == [True, True, False]
