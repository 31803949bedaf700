"""Mutual information and linear maps between components and factors, where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from dirvae.evaluate.disentanglement import disentanglement
from dirvae.evaluate.factor_columns import categories_of, factors_of, left_out
from dirvae.evaluate.factors import Association, associate, associate_by_chance, make_factor, mutual_information


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


def test_chance_is_what_the_factors_of_other_examples_give() -> None:
    """The best of 40 components of noise is above zero although chance is taken off each; chance says by how much."""
    values = uniform(300, 3)
    factors = [make_factor(name, values[:, place].tolist()) for place, name in enumerate("xyz")]
    noise = uniform(300, 40, seed=1)
    nothing = [association.to_json() for association in associate(noise, factors)]
    shuffles = associate_by_chance(torch.cat([values, noise], 1), factors)
    by_chance = [association.to_json() for shuffle in shuffles for association in shuffle]
    assert [association["factor"] for association in by_chance] == [*"xyz"] * 5
    best = [association["share"] for association in by_chance]
    assert 0.02 < np.mean(best) < 0.1
    assert np.mean([association["share"] for association in nothing]) == pytest.approx(np.mean(best), abs=0.02)
    assert len(set(best)) == 15
    assert max(association["linear_r2"] for association in by_chance) < 0.05
    assert min(association.shares.max() for association in associate(torch.cat([values, noise], 1), factors)) > 0.95
    again = associate_by_chance(torch.cat([values, noise], 1), factors)
    assert [association.to_json() for shuffle in again for association in shuffle] == by_chance


def made(*columns: list[float]) -> list[Association]:
    """Associations with these shares, one column a factor."""
    return [
        Association(f"factor {number}", torch.tensor(shares, dtype=torch.float64), gap=0.1 * number, linear=0.3)
        for number, shares in enumerate(columns)
    ]


def test_disentanglement_and_completeness_are_those_of_eastwood_and_williams() -> None:
    shares = np.random.default_rng(0).random((5, 3)) ** 3
    found = disentanglement(made(*shares.T.tolist()))
    by_component = 1 - stats.entropy(shares, axis=1, base=3)
    by_factor = 1 - stats.entropy(shares, axis=0, base=5)
    assert found.disentanglement == pytest.approx(by_component @ shares.sum(1) / shares.sum())
    assert found.completeness == pytest.approx(by_factor.mean())
    assert (found.gap, found.linear) == (pytest.approx(0.1), pytest.approx(0.3))


def test_what_is_mixed_in_either_way_is_told_apart() -> None:
    one_to_one = disentanglement(made([1, 0, 0, 0], [0, 1, 0, 0]))
    assert (one_to_one.disentanglement, one_to_one.completeness) == (pytest.approx(1), pytest.approx(1))
    spread_out = disentanglement(made([0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]))
    assert (spread_out.disentanglement, spread_out.completeness) == (pytest.approx(1), pytest.approx(0.5))
    in_one = disentanglement(made([0.5, 0, 0, 0], [0.5, 0, 0, 0]))
    assert (in_one.disentanglement, in_one.completeness) == (pytest.approx(0), pytest.approx(1))
    nothing = disentanglement(made([0, 0], [0, 0]))
    assert (nothing.disentanglement, nothing.completeness) == (0, 0)
    with pytest.raises(ValueError, match="1 factors were given; a comparison needs 2 or more"):
        disentanglement(made([1, 0]))


def test_latents_that_are_the_factors_are_disentangled_and_turned_ones_are_not() -> None:
    values = uniform(columns=3)
    factors = [make_factor(name, values[:, place].tolist()) for place, name in enumerate("xyz")]
    reflection = torch.eye(3, dtype=torch.float64) - 2 / 3
    straight = disentanglement(associate(values, factors)).to_json()
    turned = disentanglement(associate(values @ reflection, factors)).to_json()
    assert min(straight.values()) > 0.97
    assert max(turned[name] for name in ("gap", "disentanglement", "completeness")) < 0.6
    assert turned["linear_r2"] > 0.99


def test_each_value_of_a_text_is_a_factor_of_its_own() -> None:
    """One component a value: all of it is there, and no gap shows, until each value is asked for by itself."""
    rng = np.random.default_rng(0)
    kinds = [("dawn", "day", "night")[number] for number in rng.integers(0, 3, 900)]
    fields = [
        {"mood": kind, "x": number, "is": kind == "day", "name": f"{number}"} for number, kind in enumerate(kinds)
    ]
    latents = torch.tensor([[float(kind == name) for name in ("dawn", "day", "night")] for kind in kinds])
    whole, _, *_ = associate(latents, factors_of(fields))
    found = associate(latents, categories_of(fields))
    assert [association.name for association in found] == ["mood=dawn", "mood=day", "mood=night"]
    assert [int(association.shares.argmax()) for association in found] == [0, 1, 2]
    assert whole.gap < 0.05
    assert min(association.gap for association in found) > 0.6


@pytest.mark.parametrize("rare", [0, 1, 2])
def test_a_rare_value_is_told_from_the_others_wherever_it_stands(rare: int) -> None:
    """Of 200 examples, 9 have the lowest, the middle or the highest of three values: no bin swallows them."""
    others = [value for value in (0, 1, 2) if value != rare]
    values = [rare] * 9 + [others[number % 2] for number in range(191)]
    factor = make_factor("faces", values)
    assert factor.labels.tolist() == values
    latents = torch.cat([torch.tensor(values)[:, None].double(), uniform(200, 3)], 1)
    found = associate(latents, [factor])[0]
    assert found.shares[0].item() == pytest.approx(1, abs=0.05)
    assert found.shares[1:].max() < 0.3


@pytest.mark.parametrize("sign", [1, -1])
def test_a_factor_that_is_mostly_one_of_many_values_still_has_two_bins(sign: int) -> None:
    values = [sign * number for number in range(30)] + [sign * 100] * 970
    assert make_factor("x", values).labels.unique(return_counts=True)[1].tolist() in ([30, 970], [970, 30])


def test_so_few_examples_that_any_factor_is_held_give_shares_of_zero() -> None:
    for num in (2, 3, 4):
        factors = [
            make_factor("x", [0] + [1] * (num - 1)),
            make_factor("name", [str(place) for place in range(num)]),
        ]
        for found in (associate(uniform(num, 3), factors), *associate_by_chance(uniform(num, 3), factors)):
            for association in found:
                assert association.shares.isfinite().all()
                assert math.isfinite(association.gap)
                assert math.isfinite(association.linear)


def test_the_same_number_written_in_two_ways_is_one_value() -> None:
    fields = [{"same": 1, "x": 1}, {"same": 1.0, "x": 2}]
    assert [factor.name for factor in factors_of(fields)] == ["x"]
    assert left_out(fields) == ["not used as factors, because they are the same in all examples: same"]
    with pytest.raises(ValueError, match="'same' is the same in all examples"):
        factors_of(fields, circular=("same",))


def test_numbers_that_float64_cannot_hold_are_no_factors_and_large_ones_are() -> None:
    values = uniform(200)[:, 0]
    fields = [{"huge": 10**400, "x": value, "large": 1e308 * value, "open": math.inf} for value in values.tolist()]
    assert [factor.name for factor in factors_of(fields)] == ["x", "large"]
    assert left_out(fields) == [
        "not used as factors, because they are not finite or too large for float64: huge, open"
    ]
    for wrong in (10**400, math.nan):
        with pytest.raises(ValueError, match="'huge' holds a number that is not finite or too large for float64"):
            make_factor("huge", [1, wrong])
    plain, large = associate(torch.stack([values, values.square()], 1), factors_of(fields))
    assert large.linear == pytest.approx(plain.linear)


def test_one_component_or_one_example_is_refused() -> None:
    for shape in ((10, 1), (1, 4)):
        with pytest.raises(ValueError, match=f"{shape[0]} examples of {shape[1]} components were given"):
            associate(uniform(*shape), [make_factor("x", list(range(10)))])
