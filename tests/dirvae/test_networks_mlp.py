"""The fully connected autoencoder: the paper's layers, heads that read the last hidden one."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from dirvae import MLPVAE, Dirichlet
from dirvae.latents import LATENTS, make_latent
from dirvae.latents.dense import Dense
from dirvae.networks.mlp import widen_heads
from dirvae.training import Trainer, load_model
from dirvae.training.config import FitConfig


def linear_shapes(module: nn.Module) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in module.modules() if isinstance(layer, nn.Linear)]


def test_the_default_is_the_networks_of_the_paper() -> None:
    model = MLPVAE()
    assert linear_shapes(model.encoder) == [(784, 500), (500, 500)]
    assert linear_shapes(model.latent) == [(500, 50)]
    assert linear_shapes(model.decoder) == [(50, 500), (500, 500), (500, 784)]
    assert sum(isinstance(layer, nn.Softplus) for layer in model.modules()) == 4
    assert model(torch.rand(3, 1, 28, 28)).reconstruction.shape == (3, 1, 28, 28)


@pytest.mark.parametrize("latent", sorted(LATENTS))
def test_each_latents_heads_read_the_last_hidden_layer(latent: str) -> None:
    model = MLPVAE((7,), model_size=4, widths=(9, 11), latent=latent)
    shapes = linear_shapes(model.latent)
    assert shapes
    assert {inputs for inputs, _ in shapes} == {11}
    x = torch.rand(5, 7).round()
    model.loss(x, model(x))["loss"].backward()
    assert all(weight.grad is not None for weight in model.parameters() if weight.requires_grad)


def test_widened_heads_start_where_they_started_and_given_ones_stay() -> None:
    narrow, wide = (make_latent("scaled-dirichlet", 4) for _ in range(2))
    widen_heads(wide, 9)
    for name in ("concentration_head", "rate_head"):
        assert torch.equal(getattr(wide, name).bias, getattr(narrow, name).bias)
    assert not wide.rate_head.weight.any()
    assert wide.concentration_head.weight.any()
    own = nn.Linear(9, 4)
    given = Dirichlet(4, head=own)
    widen_heads(given, 9)
    assert given.head is own
    same = Dirichlet(4)
    before = same.head
    widen_heads(same, 4)
    assert same.head is before
    assert isinstance(before, Dense)


def test_a_model_is_rebuilt_from_its_config_through_json() -> None:
    model = MLPVAE((2, 3), model_size=4, widths=(8,), latent="gaussian", likelihood="laplace", fixed_scale=0.2)
    other = MLPVAE(**json.loads(json.dumps(model.config)))
    other.load_state_dict(model.state_dict())
    x = torch.rand(3, 2, 3)
    assert torch.equal(other.encode(x).mean, model.encode(x).mean)
    assert other.likelihood.scale.item() == pytest.approx(0.2)


def test_a_model_of_given_parts_says_that_its_config_cannot_hold_them() -> None:
    for part, options in {
        "latent": {"latent": Dirichlet(50)},
        "decode_head": {"decode_head": nn.Identity()},
    }.items():
        with pytest.raises(ValueError, match=f"the {part} of this model was given as a module"):
            _ = MLPVAE(**options).config


def test_a_run_gives_the_network_back_by_itself_and_one_of_given_parts_on_request(tmp_path) -> None:
    x = torch.rand(8, 6).round()
    for name, latent in (("named", "dirichlet"), ("given", Dirichlet(4))):
        model = MLPVAE((6,), model_size=4, widths=(8,), latent=latent)
        Trainer(model, [x], config=FitConfig(steps=2, kl_warmup=0, device="cpu"), out=tmp_path / name).fit()
        fresh = None if name == "named" else MLPVAE((6,), model_size=4, widths=(8,), latent=Dirichlet(4))
        loaded = load_model(tmp_path / name, model=fresh)
        assert torch.equal(loaded.encode(x).mean, model.encode(x).mean)


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape is \(0, 3\) and widths"):
        MLPVAE((0, 3))
