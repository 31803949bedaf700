"""The residual image network: its sizes, its config, and that it learns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from dirvae import Dirichlet, ResNetVAE
from dirvae.metrics import components_in_use, psnr
from dirvae.networks.resnet import PRESETS


@pytest.mark.parametrize("size", [12, 28, 32, 48, 64, 80, 128])
def test_one_latent_an_image_at_many_sizes(size: int) -> None:
    model = ResNetVAE(size, model_size=8)
    out = model(torch.rand(2, 3, size, size))
    assert out.reconstruction.shape == (2, 3, size, size)
    assert out.latent.shape == (2, 8)
    assert model.sample(3).shape == (3, 3, size, size)


@pytest.mark.parametrize(("size", "grid"), [(64, 8), (64, 32), (48, 3), (96, 12), (100, 25)])
def test_a_map_of_latents_at_many_sizes(size: int, grid: int) -> None:
    model = ResNetVAE(size, grid=grid, channels=1, model_size=8)
    out = model(torch.rand(2, 1, size, size))
    assert out.reconstruction.shape == (2, 1, size, size)
    assert out.latent.shape == (2, 8, grid, grid)
    assert model.sample(3).shape == (3, 1, size, size)


def test_a_grid_of_one_is_one_latent_an_image() -> None:
    assert ResNetVAE(32, grid=1).config == ResNetVAE(32).config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 100}, "100 pixels .* 3, 4, 5 or 7 times a power of two"),
        ({"size": 3}, "3 pixels"),
        ({"size": 65}, "65 pixels"),
        ({"size": 64, "grid": 64}, "64×64 latents does not fit images of 64"),
        ({"size": 64, "grid": 12}, "12×12 latents"),
        ({"size": 64, "grid": 0}, "0×0 latents"),
        ({"size": 64, "preset": "huge"}, "'huge'; use one of tiny, small, base, large"),
        ({"size": 64, "latent": "gausian"}, "'gausian'; use one of dirichlet, gaussian"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNetVAE(**options)


def test_presets_grow_from_a_few_hundred_thousand_parameters() -> None:
    with torch.device("meta"):
        counts = [sum(weight.numel() for weight in ResNetVAE(preset=preset).parameters()) for preset in PRESETS]
    assert list(PRESETS) == ["tiny", "small", "base", "large"]
    assert 250_000 < counts[0] < 500_000
    assert all(2.5 * smaller < larger for smaller, larger in pairwise(counts))


def test_a_model_is_rebuilt_from_its_config_through_json() -> None:
    options = {
        "size": 32,
        "channels": 1,
        "model_size": 12,
        "grid": 4,
        "latent": "scaled-dirichlet",
        "prior": 3.0,
        "likelihood": "laplace",
    }
    model = ResNetVAE(**options).eval()
    assert model.config == {**options, "preset": "tiny", "fixed_scale": None}
    again = ResNetVAE(**json.loads(json.dumps(model.config))).eval()
    again.load_state_dict(model.state_dict())
    x = torch.rand(2, 1, 32, 32)
    assert torch.equal(model.decode(model.encode(x).mean), again.decode(again.encode(x).mean))


def test_a_given_latent_is_used_and_its_config_is_refused() -> None:
    model = ResNetVAE(32, model_size=8, latent=Dirichlet(8, prior=0.5))
    assert model.latent.prior.concentration.tolist() == [0.5] * 8
    with pytest.raises(ValueError, match="latent of this model was given as a module"):
        _ = model.config


def test_the_network_runs_in_channels_last_whatever_it_is_given() -> None:
    model = ResNetVAE(32, model_size=8)
    assert model(torch.rand(2, 3, 32, 32)).decoded.is_contiguous(memory_format=torch.channels_last)


def test_every_weight_gets_a_gradient_after_the_first_step() -> None:
    torch.manual_seed(0)
    model = ResNetVAE(32, model_size=8)
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)
    for _ in range(2):  # the blocks' second convolutions start at zero and hide their first
        x = torch.rand(4, 3, 32, 32)
        optimizer.zero_grad()
        model.loss(x, model(x))["loss"].backward()
        optimizer.step()
    assert [name for name, weight in model.named_parameters() if not weight.grad.abs().sum() > 0] == []


def discs(num: int, *, seed: int, size: int = 32) -> Tensor:
    """Images of one disc each, its place, size and colour and the ground's colour drawn at random."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(num, *shape, generator=generator)

    ramp = torch.linspace(0, 1, size)
    distance = torch.hypot(ramp - uniform(0.3, 0.7, 1, 1), ramp[:, None] - uniform(0.3, 0.7, 1, 1))
    inside = ((uniform(0.1, 0.3, 1, 1) - distance) * size + 0.5).clamp(0, 1)[:, None]
    return uniform(0, 1, 3, 1, 1) * inside + uniform(0, 1, 3, 1, 1) * (1 - inside)


def lattice(images: Tensor) -> float:
    """Power at the highest horizontal frequency over that at the three below: a checkerboard stands out there."""
    power = torch.fft.rfft(images, dim=-1).abs().square().mean((0, 1, 2))
    return (power[-1] / power[-4:-1].mean()).item()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """So small a network gains little from a second thread, and loses all on a machine busy with other things."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("grid", [None, 4])
def test_a_short_training_beats_the_mean_image_with_most_of_the_simplex_and_no_lattice(grid: int | None) -> None:
    torch.manual_seed(0)
    train, held_out = discs(512, seed=1), discs(64, seed=2)
    model, steps = ResNetVAE(32, model_size=16, grid=grid), 100
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for step in range(steps):
        x = train[torch.randint(len(train), (32,))]
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, 3 * (1 - step / steps))
        optimizer.zero_grad()
        model.loss(x, model(x), kl_weight=min(1, step / 50))["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        z = model.encode(held_out).mean
        decoded = model.decode(z)
        gain = psnr(held_out, decoded).mean() - psnr(held_out, train.mean(0).expand_as(held_out)).mean()
        terms = model.loss(held_out, model(held_out))
    assert gain > 5
    assert components_in_use(z).sum() >= 8
    assert lattice(decoded) < 2 * lattice(held_out)
    assert terms["loss"] < -500  # in nats; the uniform density on [0, 1] has 0
