"""The residual network of clips: its sizes, what its convolutions over time see, and that it learns to move things."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dirvae import Dirichlet, VideoVAE
from dirvae.latents import LATENTS
from dirvae.losses import LIKELIHOODS
from dirvae.metrics import psnr
from dirvae.networks.video_resnet import ClipBlock, Enlarged, SpaceConv, TimeConv
from dirvae.training.feed import to_device
from tests.dirvae.moving_shapes import draw_clips


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("size", "frames"), [(16, 16), (12, 5), (20, 12), (28, 1), (32, 3), (16, 33)])
def test_one_latent_per_clip_at_many_sizes_and_lengths(size: int, frames: int) -> None:
    model = VideoVAE(size, clip_frames=frames, model_size=8)
    out = model(torch.rand(2, 3, frames, size, size))
    assert out.reconstruction.shape == (2, 3, frames, size, size)
    assert out.latent.shape == (2, 8)
    assert model.sample(3).shape == (3, 3, frames, size, size)


@pytest.mark.parametrize(
    ("size", "frames", "grid", "time"), [(16, 16, 2, 4), (32, 5, 8, 3), (24, 12, 3, 3), (16, 9, 8, 9)]
)
def test_a_map_of_latents_over_time_and_space(size: int, frames: int, grid: int, time: int) -> None:
    model = VideoVAE(size, clip_frames=frames, grid=grid, channels=1, model_size=8)
    out = model(torch.rand(2, 1, frames, size, size))
    assert out.reconstruction.shape == (2, 1, frames, size, size)
    assert out.latent.shape == (2, 8, time, grid, grid)
    assert model.sample(3).shape == (3, 1, frames, size, size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 100}, "frames of 100 pixels .* 3, 4, 5 or 7 times a power of two"),
        ({"size": 64, "grid": 12}, "12×12 latents does not fit frames of 64"),
        ({"clip_frames": 0}, "clip_frames is 0; a clip has 1 frame or more"),
        ({"preset": "huge"}, "'huge'; use one of tiny, small, base, large"),
        ({"latent": "gausian"}, "'gausian'; use one of dirichlet, gaussian"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VideoVAE(**options)


def test_presets_grow_from_half_a_million_parameters() -> None:
    tiny, small = (
        sum(weight.numel() for weight in VideoVAE(preset=preset).parameters()) for preset in ("tiny", "small")
    )
    assert 250_000 < tiny < 600_000
    assert 2 * tiny < small


def test_a_model_is_rebuilt_from_its_config_through_json() -> None:
    options = {
        "size": 16,
        "clip_frames": 5,
        "channels": 1,
        "model_size": 6,
        "grid": 4,
        "latent": "scaled-dirichlet",
    }
    model = VideoVAE(**options, prior=3.0, likelihood="laplace").eval()
    assert model.config == {
        **options,
        "preset": "tiny",
        "prior": 3.0,
        "likelihood": "laplace",
        "fixed_scale": None,
    }
    again = VideoVAE(**json.loads(json.dumps(model.config))).eval()
    again.load_state_dict(model.state_dict())
    x = torch.rand(2, 1, 5, 16, 16)
    assert torch.equal(model.decode(model.encode(x).mean), again.decode(again.encode(x).mean))
    with pytest.raises(ValueError, match="latent of this model was given as a module"):
        _ = VideoVAE(16, model_size=8, latent=Dirichlet(8)).config


@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
@pytest.mark.parametrize("latent", sorted(LATENTS))
def test_every_latent_and_likelihood_has_a_finite_bound_of_clips(latent: str, likelihood: str) -> None:
    model = VideoVAE(8, clip_frames=3, model_size=4, latent=latent, likelihood=likelihood)
    x = torch.rand(2, 3, 3, 8, 8).round()
    terms = model.loss(x, model(x))
    terms["loss"].backward()
    assert all(value.isfinite() for value in terms.values())
    assert model.likelihood.log_prob(x, model(x).decoded).shape == (2,)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_two_convolutions_are_those_of_a_volume(stride: int) -> None:
    """`F.conv3d` is the witness: a kernel of 1×3×3 over space, one of 3×1×1 over time."""
    x = torch.rand(2, 4, 5, 6, 7)
    space, time = SpaceConv(4, 3, 3, padding=1, stride=stride), TimeConv(4, stride=stride)
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        given = x.contiguous(memory_format=layout)
        expected = F.conv3d(x, space.weight[:, :, None], space.bias, (1, stride, stride), (0, 1, 1))
        torch.testing.assert_close(space(given), expected)
        expected = F.conv3d(x, time.weight[..., None], time.bias, (stride, 1, 1), (1, 0, 0))
        torch.testing.assert_close(time(given), expected)


@pytest.mark.parametrize("frames", [3, 5, 6])
def test_enlarging_is_trilinear(frames: int) -> None:
    x = torch.rand(2, 4, 3, 4, 5)
    torch.testing.assert_close(Enlarged(frames)(x), F.interpolate(x, size=(frames, 8, 10), mode="trilinear"))


def test_what_comes_channels_last_stays_so_and_nothing_else_depends_on_it() -> None:
    model = VideoVAE(16, clip_frames=6, model_size=8).eval()
    clips = to_device(draw_clips(2, frames=6, size=16), torch.device("cpu"))
    assert clips.is_contiguous(memory_format=torch.channels_last_3d)
    decoded = model.decode(model.encode(clips).mean)
    assert decoded.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(model.decode(model.encode(clips.contiguous()).mean), decoded)


def test_every_weight_gets_a_gradient_after_the_first_step() -> None:
    torch.manual_seed(0)
    model = VideoVAE(16, clip_frames=5, model_size=8)
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)
    for _ in range(2):  # the blocks' convolutions over time start at zero and hide those over space
        x = torch.rand(4, 3, 5, 16, 16)
        optimizer.zero_grad()
        model.loss(x, model(x))["loss"].backward()
        optimizer.step()
    assert [name for name, weight in model.named_parameters() if not weight.grad.abs().sum() > 0] == []


def with_motion(model: VideoVAE) -> VideoVAE:
    """The model, with convolutions over time that do something: those of the blocks start at zero."""
    for module in model.modules():
        if isinstance(module, ClipBlock):
            nn.init.normal_(module.time.weight, std=0.1)
    return model.eval()


def test_the_latent_of_a_clip_depends_on_the_order_of_its_frames() -> None:
    torch.manual_seed(0)
    model = with_motion(VideoVAE(16, clip_frames=8, model_size=8))
    x = to_device(draw_clips(1, frames=8, size=16), torch.device("cpu"))
    with torch.no_grad():
        there, back = model.encode(x).mean, model.encode(x.flip(2)).mean
    assert (there - back).abs().max() > 1e-3


def test_features_see_frames_before_and_after_their_own_by_the_convolutions_over_time_alone() -> None:
    torch.manual_seed(0)
    model = VideoVAE(8, clip_frames=9, grid=4, model_size=8).eval()  # its map has all 9 frames, one block deep

    def seen_from_the_middle() -> list[int]:
        x = torch.rand(1, 3, 9, 8, 8, requires_grad=True)
        for module in model.modules():  # its statistics are of the whole clip
            if isinstance(module, nn.GroupNorm):
                module.forward = lambda x: x  # type: ignore[method-assign]
        model.encoder(x)[:, :, 4].sum().backward()
        assert x.grad is not None
        return torch.nonzero(x.grad.abs().sum((0, 1, 3, 4))).flatten().tolist()

    assert seen_from_the_middle() == [4], "untrained, a block is the identity"
    with_motion(model)
    assert seen_from_the_middle() == [3, 4, 5]


def test_a_short_training_reproduces_the_motion_and_beats_every_still() -> None:
    torch.manual_seed(0)
    train, held_out = (
        to_device(draw_clips(num, frames=8, size=16, seed=num, coloured=False), torch.device("cpu"))
        for num in (256, 48)
    )
    model, steps = VideoVAE(16, clip_frames=8, model_size=16), 70
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for step in range(steps):
        x = train[torch.randint(len(train), (16,))]
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, 3 * (1 - step / steps))
        optimizer.zero_grad()
        model.loss(x, model(x), kl_weight=min(1, step / 35))["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        decoded = model.decode(model.encode(held_out).mean)
        loss = model.loss(held_out, model(held_out))["loss"]
    still = held_out.mean(2, keepdim=True).expand_as(held_out)  # of each clip the best one
    assert psnr(held_out, decoded).mean() > psnr(held_out, still).mean() + 0.5
    assert motion_explained(held_out, decoded) > 0.3
    assert loss < -1500  # in nats; the uniform density on [0, 1] has 0


def motion_explained(x: Tensor, decoded: Tensor) -> float:
    """The share of the variation over time that is reproduced; that of any still is 0."""
    wanted, got = x - x.mean(2, keepdim=True), decoded - decoded.mean(2, keepdim=True)
    return 1 - ((wanted - got).square().sum() / wanted.square().sum()).item()
