"""Collapse of components, of either kind, and nearest neighbours: on latents and decoders whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree
from torch import nn

from dirvae import AutoEncoder, Dirichlet, ResNetVAE
from dirvae.evaluate import collapsed_values, collapsed_weights, input_weight_norms, neighbour_errors, usage


def linear_model(**options: object) -> AutoEncoder:
    torch.manual_seed(0)
    return AutoEncoder(nn.Linear(10, 6), nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 10)), 6, **options)


def test_norms_over_a_standardised_latent_are_those_of_the_weights() -> None:
    for latent in ("gaussian", "dirichlet"):
        model = linear_model(latent=latent)
        expected = (model.decoder[0].weight @ model.decode_head[1].weight).norm(dim=0)
        torch.testing.assert_close(input_weight_norms(model), expected.detach())


def test_norms_are_in_standard_deviations_of_the_prior() -> None:
    model = linear_model(latent=Dirichlet(6, prior=[0.5, 0.5, 1, 1, 2, 4]), decode_head=nn.Identity())
    expected = model.decoder[0].weight.norm(dim=0) * model.latent.prior.stddev
    torch.testing.assert_close(input_weight_norms(model), expected.detach())


def test_a_component_the_decoder_does_not_read_is_collapsed_on_any_grid() -> None:
    for model in (ResNetVAE(size=16, model_size=5), ResNetVAE(size=16, model_size=5, grid=4)):
        with torch.no_grad():
            model.decode_head[1].weight[:, 2] = 0
        assert collapsed_weights(input_weight_norms(model)).tolist() == [False, False, True, False, False]


def test_measuring_leaves_no_hook_behind() -> None:
    model = linear_model()
    input_weight_norms(model)
    assert not any(layer._forward_hooks for layer in model.modules())
    assert model(torch.rand(3, 10)).decoded.shape == (3, 10)


def test_a_decoder_without_weights_is_refused() -> None:
    model = AutoEncoder(nn.Linear(10, 6), nn.Identity(), 6)
    with pytest.raises(ValueError, match="no linear or convolutional layer"):
        input_weight_norms(model)


def test_a_share_that_is_hardly_ever_taken_is_collapsed() -> None:
    num = 1000
    never = torch.full((num,), 0.04)
    seldom = torch.where(torch.arange(num) < 5, 0.5, 0.01)
    sometimes = torch.where(torch.arange(num) < 50, 0.3, 0.01)
    shares = torch.stack([never, seldom, sometimes, 1 - never - seldom - sometimes], 1)
    assert collapsed_values(shares).tolist() == [True, True, False, False]


def test_off_the_simplex_a_component_that_does_not_vary_is_collapsed() -> None:
    means = torch.stack([torch.randn(100), torch.full((100,), 3.0), 0.05 * torch.randn(100)], 1)
    assert collapsed_values(means).tolist() == [False, True, True]


def test_usage_counts_each_kind_as_json() -> None:
    model = linear_model()
    with torch.no_grad():
        model.decode_head[1].weight[:, 0] = 0
    eye = torch.eye(6)[torch.arange(60) % 3]
    counted = usage(model, eye)
    assert counted["effective_components"] == pytest.approx(3)
    assert (counted["components_in_use"], counted["collapsed_values"], counted["collapsed_weights"]) == (3, 3, 1)
    assert len(counted["input_weight_norms"]) == counted["model_size"] == 6
    gaussian = usage(linear_model(latent="gaussian"), torch.randn(60, 6) * torch.tensor([1, 1, 0, 0, 0, 0]))
    assert (gaussian["components_in_use"], gaussian["active_units"], gaussian["collapsed_values"]) == (2, 2, 4)
    assert gaussian["effective_components"] is None


def majority_by_hand(train: np.ndarray, labels: np.ndarray, point: np.ndarray, count: int) -> int:
    order = np.argsort(((train - point) ** 2).sum(1), kind="stable")[:count]
    votes = np.bincount(labels[order])
    best = votes == votes.max()
    return (
        next(int(label) for label in labels[order] if best[label])
        if best.sum() > 1 and count < 4
        else int(votes.argmax())
    )


def test_errors_are_those_of_a_search_by_hand() -> None:
    rng = np.random.default_rng(0)
    labels, test_labels = rng.integers(0, 3, 200), rng.integers(0, 3, 60)
    train = rng.normal(size=(200, 4)) + labels[:, None]
    test = rng.normal(size=(60, 4)) + test_labels[:, None]
    tensors = [torch.from_numpy(value) for value in (train, labels, test, test_labels)]
    errors = neighbour_errors(*tensors, counts=(1, 3), rows=7)
    for count in (1, 3):
        found = [majority_by_hand(train, labels, point, count) for point in test]
        assert errors[count] == pytest.approx(np.mean(np.array(found) != test_labels))
    assert 0.1 < errors[3] < 0.6


def test_a_tie_goes_to_the_nearer_neighbours() -> None:
    train = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    labels = torch.tensor([1, 0, 0, 1])
    for label, expected in ((1, 0.0), (0, 1.0)):
        errors = neighbour_errors(train, labels, torch.tensor([[-0.2]]), torch.tensor([label]), counts=(2,))
        assert errors[2] == expected


def test_too_few_latents_to_vote_are_refused() -> None:
    with pytest.raises(ValueError, match="4 latents to compare with and 2 to classify; 10 neighbours"):
        neighbour_errors(torch.rand(4, 2), torch.zeros(4).long(), torch.rand(2, 2), torch.zeros(2).long())


@pytest.mark.parametrize(("offset", "scale"), [(1e4, 1), (-1e6, 1), (1, 1e-4)])
def test_neighbours_far_from_the_origin_are_those_of_a_search_in_float64(offset: float, scale: float) -> None:
    rng = np.random.default_rng(0)
    latents = (rng.normal(size=(400, 8)) * scale + offset).astype(np.float32)
    labels = (rng.random(400) < 0.5).astype(np.int64)
    tree = KDTree(latents[:300].astype(np.float64))
    nearest = tree.query(latents[300:].astype(np.float64), k=3)[1]
    expected = np.mean((labels[:300][nearest].sum(1) >= 2) != labels[300:])
    tensors = [torch.from_numpy(part) for part in (latents[:300], labels[:300], latents[300:], labels[300:])]
    assert neighbour_errors(*tensors, counts=(3,))[3] == pytest.approx(expected)


@pytest.mark.parametrize("counts", [(), (0, 3)])
def test_no_neighbours_to_count_are_refused(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="it must hold numbers of neighbours, 1 or more each"):
        neighbour_errors(
            torch.rand(4, 2), torch.zeros(4).long(), torch.rand(2, 2), torch.zeros(2).long(), counts=counts
        )
