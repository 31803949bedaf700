"""Mutual information and linear maps between components and factors, where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from dirvae.evaluate.factors import associate, factors_of, make_factor, mutual_information


def uniform(num: int = 4000, columns: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((num, columns)))


def test_mutual_information_is_that_of_the_joint_histogram() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 4, 500), rng.integers(0, 3, 500)
    second = np.where(rng.random(500) < 0.5, first % 3, second)
    joint = np.histogram2d(first, second, bins=(4, 3))[0] / 500
    expected = stats.entropy(joint.sum(1)) + stats.entropy(joint.sum(0)) - stats.entropy(joint.ravel())
    labels = torch.from_numpy(np.stack([first, first * 0, second], 1))
    ours = mutual_information(labels, torch.from_numpy(second))
    assert ours.tolist() == pytest.approx([expected, 0, stats.entropy(joint.sum(0))])


def test_a_component_that_is_the_factor_has_all_of_it_and_noise_has_none() -> None:
    values, noise = uniform(), uniform(columns=3, seed=1)
    latents = torch.cat([noise[:, :1], -3 * values, noise[:, 1:]], 1)
    found = associate(latents, [make_factor("x", values[:, 0].tolist())])[0]
    assert int(found.shares.argmax()) == 1
    assert found.shares[1].item() == pytest.approx(1, abs=0.01)
    assert found.shares[[0, 2, 3]].max() < 0.01
    assert found.gap == pytest.approx(1, abs=0.02)
    assert found.linear == pytest.approx(1, abs=0.01)


def test_what_two_components_share_leaves_no_gap() -> None:
    values = uniform()
    found = associate(torch.cat([values, values**3], 1), [make_factor("x", values[:, 0].tolist())])[0]
    assert found.gap == pytest.approx(0, abs=1e-9)


def test_few_examples_of_nothing_look_like_nothing() -> None:
    """Histograms of 200 examples in 20 × 20 bins hold mutual information by chance alone; it is taken off."""
    latents, factor = uniform(200, 8), make_factor("x", uniform(200, seed=5)[:, 0].tolist())
    found = associate(latents, [factor])[0]
    assert found.shares.max() < 0.15
    assert found.linear < 0.1


def test_a_linear_map_reads_only_what_is_linear_and_is_tested_on_other_examples() -> None:
    rng = np.random.default_rng(0)
    latents = torch.from_numpy(rng.normal(size=(400, 100)))
    noise = make_factor("noise", rng.normal(size=400).tolist())
    parts = (latents[:, 0] + 0.5 * latents[:, 1]).tolist()
    squares = latents[:, 0].square().tolist()
    found = associate(latents, [noise, make_factor("sum", parts), make_factor("square", squares)])
    assert found[0].linear < 0
    assert found[1].linear > 0.99
    assert found[2].linear < 0.1
    assert found[2].shares[0] > 0.4


def test_a_factor_that_goes_round_is_read_through_its_sine_and_cosine() -> None:
    hue = uniform()[:, 0]
    latents = torch.stack([(2 * math.pi * hue).cos(), (2 * math.pi * hue).sin()], 1)
    plain, round_ = (make_factor("hue", hue.tolist(), circular=circular) for circular in (False, True))
    found = associate(latents, [plain, round_])
    assert found[0].linear < 0.8
    assert found[1].linear == pytest.approx(1, abs=1e-3)
    assert torch.equal(found[0].shares, found[1].shares)


def test_categories_are_text_or_truth_and_carry_on_as_numbers_of_their_own() -> None:
    rng = np.random.default_rng(0)
    kinds = [("circle", "star", "heart")[number] for number in rng.integers(0, 3, 600)]
    latents = torch.tensor([[float(kind == name) for name in ("circle", "star", "heart")] for kind in kinds])
    found = associate(
        latents, [make_factor("shape", kinds), make_factor("is_star", [kind == "star" for kind in kinds])]
    )
    assert found[0].linear == pytest.approx(1, abs=1e-3)
    assert found[1].shares.tolist()[1] == pytest.approx(1, abs=0.01)
    assert found[1].to_json()["component"] == 1


def test_a_grid_is_averaged() -> None:
    values = uniform(500)
    grid = values[:, :, None, None] + torch.tensor([-1.0, 1.0])[:, None]
    found = associate(grid.expand(500, 1, 2, 3).repeat(1, 2, 1, 1), [make_factor("x", values[:, 0].tolist())])[0]
    assert found.shares[0] > 0.99


def test_factors_are_what_all_examples_have_and_what_varies() -> None:
    fields = [
        {"x": number / 10, "same": 1, "box": [1, 2], "kind": "ab"[number % 2], **({"odd": 1} if number else {})}
        for number in range(10)
    ]
    assert [factor.name for factor in factors_of(fields)] == ["x", "kind"]
    with pytest.raises(ValueError, match="no factor is called 'hue'; the examples have x, same, kind"):
        factors_of(fields, circular=("hue",))
    with pytest.raises(ValueError, match="'kind' holds text"):
        factors_of(fields, circular=("kind",))
    with pytest.raises(ValueError, match="'same' has the value 1 only"):
        make_factor("same", [1, 1])
