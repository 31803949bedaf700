"""Explorations against closed forms and brute force, on many random latents with zeros, ones and grids."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from dirvae.choices import PATHS
from dirvae.explore import (
    archetypes,
    arithmetic,
    barycentric,
    exemplars,
    interpolate,
    mask_components,
    neighbours,
    traverse,
    usage,
)
from dirvae.explore.compositions import SMALLEST_SHARE, closed
from dirvae.explore.distances import typical_example
from dirvae.explore.mixtures import faces

RNG = np.random.default_rng(21)
GRIDS = [(), (3,), (2, 2)]


def shares(num: int, size: int, grid: tuple[int, ...] = (), *, has_zeros: bool = True) -> torch.Tensor:
    """Dirichlet draws of NumPy's: (num, size, *grid); some components are exactly 0, some latents are vertices."""
    draws = RNG.dirichlet([0.4] * size, (num, *grid))
    if has_zeros:
        draws[RNG.random(draws.shape) < 0.3] = 0
        draws[..., 0] += draws.sum(-1) == 0
        draws /= draws.sum(-1, keepdims=True)
        draws[0] = np.eye(size)[size - 1]
    return torch.from_numpy(np.moveaxis(draws, -1, 1)).float()


def geodesic(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """Aitchison's line by powers and a product, in NumPy: (size, *grid)."""
    a, b = (np.maximum(x.astype(np.float64), SMALLEST_SHARE) for x in (a, b))
    mean = a ** (1 - t) * b**t
    return mean / mean.sum(0)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", PATHS)
def test_every_path_is_symmetric_meets_its_ends_and_stays_on_the_simplex(kind, grid):
    for start, end in zip(shares(40, 6, grid), shares(40, 6, grid), strict=True):
        a, b = (start * 7 + 0.01, end * 30 + 0.01) if kind == "concentration" else (start, end)
        there, back = interpolate(a, b, 9, kind=kind), interpolate(b, a, 9, kind=kind)
        torch.testing.assert_close(there, back.flip(0), rtol=0, atol=1e-6)
        clamped = 6 * SMALLEST_SHARE if kind == "aitchison" else 1e-6
        torch.testing.assert_close(there[0], closed(a), rtol=0, atol=2 * clamped)
        torch.testing.assert_close(there[-1], closed(b), rtol=0, atol=2 * clamped)
        assert (there >= 0).all()
        torch.testing.assert_close(there.sum(1), torch.ones(9, *grid), rtol=0, atol=1e-6)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_path_is_its_closed_form(grid):
    for a, b in zip(shares(20, 5, grid), shares(20, 5, grid), strict=True):
        steps = np.linspace(0, 1, 7)
        x, y = a.numpy(), b.numpy()
        straight = np.stack([(1 - t) * x + t * y for t in steps])
        np.testing.assert_allclose(interpolate(a, b, 7).numpy(), straight, atol=1e-6)
        bent = np.stack([geodesic(x, y, t) for t in steps])
        np.testing.assert_allclose(interpolate(a, b, 7, kind="aitchison").numpy(), bent, atol=1e-6)
        alpha, beta = x * 3 + 0.1, y * 50 + 0.1
        mixed = np.stack([(1 - t) * alpha + t * beta for t in steps])
        found = interpolate(torch.from_numpy(alpha), torch.from_numpy(beta), 7, kind="concentration")
        np.testing.assert_allclose(found.numpy(), mixed / mixed.sum(1, keepdims=True), atol=1e-6)


def test_an_aitchison_path_is_straight_in_log_ratios_and_its_middle_is_the_geometric_mean():
    a, b = shares(2, 4, has_zeros=False).double()
    path = interpolate(a, b, 5, kind="aitchison")
    ratios = path.log() - path.log().mean(1, keepdim=True)
    torch.testing.assert_close(ratios[1:] - ratios[:-1], (ratios[-1] - ratios[0]).expand(4, 4) / 4)
    middle = (a * b).sqrt()
    torch.testing.assert_close(path[2], middle / middle.sum())


def test_an_unknown_path_and_a_path_of_one_point_are_refused():
    with pytest.raises(ValueError, match=r"kind is 'bent'; it must be one of latent, concentration, aitchison\."):
        interpolate(torch.ones(2) / 2, torch.ones(2) / 2, 3, kind="bent")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num is 1"):
        traverse(torch.ones(2) / 2, 0, 1, least=0, most=1, on_simplex=True)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_traversal_sets_the_component_keeps_the_log_ratios_of_the_others_and_zero_comes_back(grid):
    for latent in shares(60, 5, grid):
        path = traverse(latent, 2, 5, least=0.0, most=0.8, on_simplex=True)
        torch.testing.assert_close(path.sum(1), torch.ones(5, *grid))
        torch.testing.assert_close(
            path[:, 2], torch.linspace(0, 0.8, 5).view(-1, *(1,) * len(grid)).expand(5, *grid)
        )
        others = [0, 1, 3, 4]
        before = closed(latent[others])
        is_vertex = (latent[2] >= 1).expand_as(before)  # nothing is left to be in proportion: equal parts
        expected = torch.where(is_vertex, 0.25, before)
        for step in path:
            torch.testing.assert_close(closed(step[others]), expected, rtol=0, atol=1e-6)
        again = traverse(path[-1], 2, 5, least=0.0, most=0.8, on_simplex=True)
        torch.testing.assert_close(again, path, rtol=0, atol=1e-6)


def test_a_traversal_off_the_simplex_changes_its_component_alone():
    latent = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    path = traverse(latent, 1, 3, least=-2.0, most=2.0, on_simplex=False)
    assert path[:, 1].tolist() == [[-2.0] * 3, [0.0] * 3, [2.0] * 3]
    assert all(torch.equal(step[[0, 2, 3]], latent[[0, 2, 3]]) for step in path)


@pytest.mark.parametrize("grid", GRIDS)
def test_archetypes_are_the_middles_of_the_faces(grid):
    for order in (1, 2, 3):
        spanning = faces([4, 0, 2, 1], order)
        assert spanning == list(combinations([4, 0, 2, 1], order))
        found = archetypes(5, spanning, grid)
        assert found.shape == (len(spanning), 5, *grid)
        for components, latent in zip(spanning, found, strict=True):
            vertices = torch.eye(5)[list(components)].mean(0)
            torch.testing.assert_close(latent, vertices.view(5, *(1,) * len(grid)).expand(5, *grid))
    with pytest.raises(ValueError, match="order is 3; it must be from 1 to the 2 components"):
        faces([0, 1], 3)


@pytest.mark.parametrize("grid", GRIDS)
def test_masks_remove_a_component_or_all_others_and_renormalise_each_cell(grid):
    for latent in shares(30, 4, grid):
        without, alone = mask_components(latent, [3, 0])
        for row, component in enumerate((3, 0)):
            left = latent.clone()
            left[component] = 0
            total = left.sum(0, keepdim=True)
            equal = torch.full_like(left, 1 / 3)
            equal[component] = 0
            expected = torch.where(total > 0, left / total.clamp(min=1e-12), equal)
            torch.testing.assert_close(without[row], expected)
            assert (alone[row].argmax(0) == component).all()
            torch.testing.assert_close(alone[row].sum(0), alone[row][component])


def test_masks_off_the_simplex_take_the_rest_from_elsewhere():
    without, alone = mask_components(torch.tensor([1.0, 2.0, 3.0]), [1], rest=torch.tensor([10.0, 20.0, 30.0]))
    assert without.tolist() == [[1.0, 20.0, 3.0]]
    assert alone.tolist() == [[10.0, 2.0, 30.0]]


@pytest.mark.parametrize("grid", GRIDS)
def test_arithmetic_is_its_closed_form_and_says_how_much_was_clamped(grid):
    for _ in range(30):
        alphas = shares(3, 5, grid) * 20
        result, clamped = arithmetic(alphas, (1, 1, -1), smallest=1e-3)
        plain = (alphas[0] + alphas[1] - alphas[2]).double().numpy()
        assert clamped == int((plain.astype(np.float32) < 1e-3).sum())
        raised = np.maximum(plain, 1e-3)
        np.testing.assert_allclose(result.numpy(), raised / raised.sum(0), atol=1e-6)
        swapped, _ = arithmetic(alphas[[1, 0, 2]], (1, 1, -1), smallest=1e-3)
        torch.testing.assert_close(swapped, result)
    own, clamped = arithmetic(alphas[[1, 0, 0]] + 0.1, (1, 1, -1), smallest=1e-3)
    torch.testing.assert_close(own, closed(alphas[1] + 0.1), rtol=0, atol=1e-5)
    assert clamped == 0


def test_arithmetic_without_a_least_value_is_the_plain_sum():
    total, clamped = arithmetic(torch.tensor([[1.0, -2.0], [3.0, 5.0]]), (2, -0.5))
    assert total.tolist() == [0.5, -6.5]
    assert clamped == 0
    with pytest.raises(ValueError, match="3 weights for 2 latents"):
        arithmetic(torch.ones(2, 2), (1, 1, 1))


def brute_distance(a: np.ndarray, b: np.ndarray, distance: str) -> float:
    if distance == "aitchison":  # by all pairs of log-ratios in each cell, Aitchison 1986
        a, b = (np.log(np.maximum(x, SMALLEST_SHARE)).reshape(len(x), -1) for x in (a, b))
        pairs = (a[:, None] - a[None]) - (b[:, None] - b[None])
        return float(np.sqrt((pairs**2).sum() / (2 * len(a))))
    return float(np.abs(a - b).sum() if distance == "l1" else np.sqrt(((a - b) ** 2).sum()))


@pytest.mark.parametrize("distance", ["aitchison", "l1", "euclidean"])
@pytest.mark.parametrize("grid", GRIDS)
def test_neighbours_are_those_of_brute_force(grid, distance):
    latents = shares(40, 4, grid)
    every = latents.double().numpy()
    for number in range(0, 40, 7):
        far = sorted(
            (brute_distance(every[other], every[number], distance), other) for other in range(40) if other != number
        )
        order, found = neighbours(latents, latents[number], 6, distance=distance, without=number)
        np.testing.assert_allclose(found.numpy(), [apart for apart, _ in far[:6]], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(
            [brute_distance(every[one], every[number], distance) for one in order.tolist()],
            found.numpy(),
            atol=1e-9,
        )
        assert number not in order


def test_there_are_no_more_neighbours_than_examples_and_equal_ones_keep_their_order():
    latents = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
    order, far = neighbours(latents, latents[0], 9, without=0)
    assert order.tolist() == [2, 3, 1]
    assert far[:2].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="distance is 'cosine'"):
        neighbours(latents, latents[0], 1, distance="cosine")  # type: ignore[arg-type]


@pytest.mark.parametrize("grid", GRIDS)
def test_exemplars_are_those_of_brute_force(grid):
    latents = shares(50, 4, grid)
    for component in range(4):
        amounts = latents[:, component].double().reshape(50, -1).mean(1)
        expected = sorted(range(50), key=lambda row: (-float(amounts[row]), row))[:7]
        order, found = exemplars(latents, component, 7)
        assert order.tolist() == expected
        torch.testing.assert_close(found, amounts[expected])


def test_the_typical_example_is_the_one_nearest_to_the_mean():
    assert typical_example(torch.tensor([[0.0, 1.0], [0.4, 0.6], [1.0, 0.0]])) == 1


def test_usage_counts_and_weighs_the_components_as_by_hand():
    latents = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.75, 0.0], [0.75, 0.25, 0.0], [0.5, 0.5, 0.0]])
    found = usage(latents, on_simplex=True)
    assert found.means.tolist() == [0.5, 0.5, 0.0]
    assert found.is_in_use.tolist() == [True, True, False]
    assert found.effective == pytest.approx(2.0)
    assert found.spread[0].item() == pytest.approx(np.std([0.5, 0.25, 0.75, 0.5]))
    assert usage(torch.randn(50, 3), on_simplex=False).effective is None


def test_barycentric_points_are_weighted_means_of_the_corners():
    latents = shares(30, 7)
    points, total = barycentric(latents, [6, 1, 3, 0])
    corners = np.array([[0, -1], [1, 0], [0, 1], [-1, 0]], float)
    for point, part, latent in zip(points.numpy(), total.tolist(), latents.double().numpy(), strict=True):
        own = latent[[6, 1, 3, 0]]
        assert part == pytest.approx(own.sum(), abs=1e-6)
        expected = own @ corners / own.sum() if own.sum() > 0 else (0, 0)
        np.testing.assert_allclose(point, expected, atol=1e-6)
    with pytest.raises(ValueError, match="there are 2 components; a polygon has at least 3"):
        barycentric(latents, [0, 1])
