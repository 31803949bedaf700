"""Paths through a latent space stay where the decoder was, and go where they say."""

import numpy as np
import pytest
import torch

from dirvae.explore.traversals import component_latents, farthest_pair, interpolate, seen_strength

RNG = np.random.default_rng(3)


def simplex(*shape: int) -> torch.Tensor:
    """Dirichlet draws of NumPy's with the components on axis 1: (shape[0], shape[1], *shape[2:])."""
    draws = RNG.dirichlet([0.6] * shape[1], (shape[0], *shape[2:]))
    return torch.from_numpy(np.moveaxis(draws, -1, 1)).float()


@pytest.mark.parametrize("grid", [(), (4,), (3, 2)])
def test_a_line_between_two_latents_stays_on_the_simplex_and_has_both_ends(grid):
    start, end = simplex(2, 5, *grid)
    line = interpolate(start, end, 7)
    assert line.shape == (7, 5, *grid)
    torch.testing.assert_close(line[0], start)
    torch.testing.assert_close(line[-1], end)
    torch.testing.assert_close(line[3], (start + end) / 2)
    assert (line >= 0).all()
    torch.testing.assert_close(line.sum(1), torch.ones(7, *grid))


def test_a_line_has_at_least_its_ends():
    with pytest.raises(ValueError, match="num is 1"):
        interpolate(torch.zeros(2), torch.ones(2), 1)


@pytest.mark.parametrize("grid", [(), (3, 2)])
def test_each_component_gets_as_strong_as_it_was_seen_and_the_others_keep_their_proportions(grid):
    center = simplex(1, 4, *grid)[0] * 0.1 + 0.9 / 4
    strength = torch.tensor([0.9, 0.5, 0.7, 0.4])
    towards = component_latents(center, strength, on_simplex=True)
    assert towards.shape == (4, 4, *grid)
    torch.testing.assert_close(towards.sum(1), torch.ones(4, *grid))
    for number in range(4):
        torch.testing.assert_close(towards[number, number], torch.full(grid, float(strength[number])))
        others = [other for other in range(4) if other != number]
        ratio = towards[number, others] / center[others]
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))


def test_a_component_already_stronger_than_its_goal_stays():
    center = torch.tensor([0.7, 0.2, 0.1])
    towards = component_latents(center, torch.tensor([0.5, 0.5, 0.5]), on_simplex=True)
    torch.testing.assert_close(towards[0], center)


def test_off_the_simplex_only_the_component_itself_is_set():
    center = torch.tensor([1.0, -2.0, 3.0])
    towards = component_latents(center, torch.tensor([10.0, 20.0, 30.0]), on_simplex=False)
    assert towards.tolist() == [[10.0, -2.0, 3.0], [1.0, 20.0, 3.0], [1.0, -2.0, 30.0]]


def test_the_strength_seen_is_numpy_s_quantile_over_examples_and_cells():
    latents = simplex(50, 4, 3, 2)
    expected = np.quantile(np.moveaxis(latents.numpy(), 1, -1).reshape(-1, 4), 0.95, axis=0)
    np.testing.assert_allclose(seen_strength(latents).numpy(), expected, rtol=1e-5)


def test_the_strength_seen_is_found_among_millions_of_cells():
    """torch.quantile refuses more than 16 million values."""
    assert seen_strength(torch.ones(70, 64, 64, 64) / 64).shape == (64,)


def test_the_farthest_pair_is_the_one_a_double_loop_finds():
    latents = simplex(9, 5, 2)
    found = farthest_pair(latents)
    distances = {(i, j): float((latents[i] - latents[j]).abs().sum()) for i in range(9) for j in range(i + 1, 9)}
    assert found == max(distances, key=distances.__getitem__)
    assert farthest_pair(latents[:1]) == (0, 0)
