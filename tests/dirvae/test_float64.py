"""Training, evaluation and sampling on a device that has no float64, and the errors of float32 that decide how."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from dirvae import MLPVAE, AudioVAE, ResNetVAE, VideoVAE
from dirvae.autoencoder import AutoEncoder
from dirvae.ddsp.loudness import loudness_curve
from dirvae.evaluate import collapse, importance
from dirvae.evaluate.held_out import HeldOut
from dirvae.float64 import has_float64, narrow, wide, wide_exponential, wide_here
from dirvae.latents import (
    Dirichlet,
    Latent,
    MomentPrior,
    dirichlet_density,
    kumaraswamy,
    logistic_normal_density,
    logistic_normal_moments,
    make_latent,
    scaled_density,
    stick_breaking,
)
from dirvae.latents import gaussian as gaussian_latent
from dirvae.networks.audio import SoundClips
from dirvae.networks.audio.variation import resampled
from dirvae.training import FitConfig, Trainer
from dirvae.training.precision import choose_device
from tests.dirvae.device_without_float64 import device_without_float64
from tests.dirvae.test_latents_precision import MAKERS


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """A device without float64; generators of it are those of the CPU."""
    monkeypatch.setattr(importance, "Generator", lambda device: torch.Generator())
    with device_without_float64() as found:
        yield found


def small_model(make: Callable[[], Latent]) -> AutoEncoder:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 8))
    decoder = nn.Sequential(nn.Linear(8, 12), nn.Unflatten(1, (3, 2, 2)))
    return AutoEncoder(encoder, decoder, 8, latent=make())


def step(model: AutoEncoder, x: Tensor) -> dict[str, Tensor]:
    """A training step's terms and gradients, the learned prior's buffers included, on the CPU."""
    torch.manual_seed(1)
    terms = model.loss(x, model(x))
    terms["loss"].backward()  # type: ignore[no-untyped-call]
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    found = {**terms, **gradients, **dict(model.named_buffers())}
    return {name: value.detach().cpu() for name, value in found.items()}


def test_the_device_refuses_float64_and_what_is_elsewhere(device: torch.device) -> None:
    here, there = torch.ones(3, device=device), torch.ones(3)
    for make in (
        lambda: torch.zeros(3, dtype=torch.float64, device=device),
        lambda: here.double(),
        lambda: here.cumsum(0, dtype=torch.float64),
        lambda: here.to("cpu", torch.float64),
        lambda: there.double().to(device),
        lambda: torch.ones(3, device=device).copy_(there.double()),
    ):
        with pytest.raises(TypeError, match="float64"):
            make()
    with pytest.raises(RuntimeError, match="of the CPU"):
        here + there
    assert not has_float64(device)
    assert choose_device("mps:0") == device


def test_wide_tensors_go_to_the_cpu_and_come_back_with_gradients(device: torch.device) -> None:
    x = torch.tensor([0.1, 2.0]).to(device).requires_grad_()
    exact = wide(x)
    assert (exact.dtype, exact.device.type, wide_here(x).dtype) == (torch.float64, "cpu", torch.float32)
    back = narrow(torch.lgamma(exact), x)
    assert (back.dtype, back.device) == (torch.float32, device)
    back.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    torch.testing.assert_close(x.grad.cpu(), torch.digamma(torch.tensor([0.1, 2.0])))
    assert wide_exponential(x).device.type == "cpu"


def test_on_a_device_with_float64_nothing_moves_and_no_bit_changes() -> None:
    x = torch.tensor([0.1, 2.0])
    assert torch.equal(wide(x), x.double())
    assert torch.equal(wide_here(x), x.double())
    drawn = wide_exponential(x, torch.Generator().manual_seed(3))
    assert torch.equal(
        drawn, torch.empty(2, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(3))
    )


@pytest.mark.parametrize("name", MAKERS)
def test_a_latent_trains_and_is_measured_without_float64_as_with_it(name: str, device: torch.device) -> None:
    x = torch.rand(5, 3, 2, 2)
    there, here = small_model(MAKERS[name]).to(device), small_model(MAKERS[name])
    draws_alike = "stick-breaking" not in name and "weibull" not in name  # noise is of float32 there
    for key, value in step(there, x.to(device)).items():
        assert value.isfinite().all(), key
    other = step(here, x)
    found = step(there, x.to(device))  # a second step: the learned prior has moved in both
    for key, value in step(here, x).items():
        if draws_alike or key == "kl":
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-4)
    assert not name.endswith("learned") or not torch.equal(other["latent.moment_prior.moments"], torch.zeros(2, 8))
    for model, data in ((there, x.to(device)), (here, x)):
        model.eval()
        estimate = importance.estimate_likelihood(model, data, samples=2, width=1.4)
        assert estimate.log_likelihood.device.type == "cpu"
        assert estimate.log_likelihood.isfinite().all()
        assert importance.choose_width(model, data, samples=2, widths=(0.7, 1.4)) in (0.7, 1.4)
        posterior, prior = model.encode(data), model.latent.prior
        z = posterior.rsample()
        for value in (posterior.log_prob(z), prior.log_prob(z), prior.stddev, model.sample(3)):
            assert value.device == data.device
        assert collapse.input_weight_norms(model).isfinite().all()
    torch.testing.assert_close(there.encode(x.to(device)).mean.cpu(), here.encode(x).mean, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("network", ["mlp", "resnet", "video"])
def test_our_networks_train_and_draw_without_float64(network: str, device: torch.device) -> None:
    model: AutoEncoder = {
        "mlp": lambda: MLPVAE((1, 16, 16), model_size=4, widths=(8,)),
        "resnet": lambda: ResNetVAE(size=16, channels=1, model_size=4, preset="tiny"),
        "video": lambda: VideoVAE(16, clip_frames=2, channels=1, model_size=4, preset="tiny"),
    }[network]().to(device)
    x = torch.rand(2, 1, 2, 16, 16) if network == "video" else torch.rand(2, 1, 16, 16)
    assert all(value.isfinite().all() for value in step(model, x.to(device)).values())
    assert model.sample(2).device == device


def test_a_run_on_such_a_device_is_resumed_to_the_bit_and_goes_on_elsewhere(
    tmp_path: Path, device: torch.device
) -> None:
    batches = [torch.rand(4, 3, 2, 2) for _ in range(4)]
    held_out = HeldOut([_Batch(batches[0])], mean=batches[0].mean(0))

    def trainer(out: Path, steps: int, on: str = "mps:0") -> Trainer:
        model = small_model(lambda: Dirichlet(8, prior=MomentPrior(8, burn_in=1)))
        config = FitConfig(steps=steps, device=on, save_every=2, kl_warmup=0)
        return Trainer(model, batches, config=config, out=out, evaluate=held_out)

    whole, parts = trainer(tmp_path / "whole", 6), trainer(tmp_path / "parts", 3)
    whole.fit()
    parts.fit()
    resumed = trainer(tmp_path / "parts", 6)
    assert resumed.resume()
    resumed.fit()
    states = [run.model.state_dict() for run in (whole, resumed)]
    for name, value in states[0].items():
        assert torch.equal(value.cpu(), states[1][name].cpu()), name
    assert whole.evaluation is not None
    assert math.isfinite(whole.evaluation["bound"])
    moments = whole.model.latent.moment_prior.moments
    assert (moments.device.type, moments.dtype) == ("cpu", torch.float64)
    assert whole.model.latent.moment_prior.concentration.device == device
    elsewhere = trainer(tmp_path / "parts", 8, on="cpu")
    assert elsewhere.resume()
    elsewhere.fit()
    assert elsewhere.skipped_updates == 0


class _Batch:
    def __init__(self, data: Tensor) -> None:
        self.data = data


def between(low: float, high: float, *shape: int) -> Tensor:
    """Numbers whose logarithms are uniform."""
    return torch.exp(torch.rand(shape) * math.log(high / low)) * low


def densities(size: int) -> dict[str, Callable[[], Tensor]]:
    """What latents compute, of float32 tensors over all their range: each (example,) or (example, component)."""
    torch.manual_seed(size)
    alike = torch.tensor([1e-2, 0.1, 1, 10, 100, 1e3])[:, None].expand(6, size)
    concentration = torch.cat([alike, between(1e-2, 1e3, 48, size)])
    num, prior = len(concentration), torch.full((1, size), 1 - 1 / size)
    location, scale, log_rate = 3 * torch.randn(num, size), between(1e-2, 3, num, size), torch.randn(num, size)
    drawn = dirichlet_density.log_dirichlet_rsample(concentration)
    a, b = concentration[:, 1:], between(1e-2, 1e3, num, size - 1)
    few = max(2, 400 // size)  # its quadrature takes long
    normal = torch.zeros(1, size), torch.ones(1, size)

    def stick_breaking_kl() -> Tensor:
        exact = kumaraswamy.wide(a), kumaraswamy.wide(b)
        prior_b = torch.full_like(exact[1], 5.0)
        return kumaraswamy.kumaraswamy_kl_from_beta(*exact, torch.ones_like(prior_b), prior_b).sum(1)

    posterior = gaussian_latent.GaussianPosterior(location, scale)
    return {
        "Dirichlet KL": lambda: dirichlet_density.dirichlet_kl(concentration, prior),
        "Dirichlet log density": lambda: dirichlet_density.dirichlet_log_prob(drawn, concentration),
        "multi-gamma KL": lambda: dirichlet_density.multigamma_kl(concentration, prior),
        "scaled Dirichlet KL": lambda: scaled_density.scaled_dirichlet_kl(concentration, log_rate, prior),
        "scaled Dirichlet mean": lambda: scaled_density.scaled_dirichlet_mean(concentration, log_rate),
        "stick-breaking KL": stick_breaking_kl,
        "logistic-normal KL": lambda: logistic_normal_density.logistic_normal_kl(location, scale, *normal),
        "KL of logits": lambda: logistic_normal_density.logit_kl(location, scale, *normal),
        "logistic-normal mean": lambda: logistic_normal_moments.logistic_normal_moments(
            location[:few], scale[:few]
        )[0],
        "Gaussian KL": lambda: make_latent("gaussian", size).kl(posterior),
    }


MODULES: tuple[ModuleType, ...] = (
    dirichlet_density,
    gaussian_latent,
    kumaraswamy,
    logistic_normal_density,
    logistic_normal_moments,
    scaled_density,
    stick_breaking,
)
IN_FLOAT32 = {"logistic-normal KL": 1e-6, "KL of logits": 1e-6, "logistic-normal mean": 2e-5, "Gaussian KL": 1e-6}
"""What is computed in float32 on a device without float64, and the error that it may have."""


def single_precision_errors(size: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[float, float]]:
    """The largest errors of float32: absolute, and relative to the value; nats below 1 count as 1, shares do not."""
    functions = densities(size)
    exact = {name: function().double() for name, function in functions.items()}
    with monkeypatch.context() as patch:
        for module in MODULES:
            for name in ("wide", "wide_here"):
                patch.setattr(module, name, Tensor.float, raising=False)
        found = {name: function().double() for name, function in functions.items()}
    errors = {}
    for name, value in exact.items():
        error = (found[name] - value).abs()
        least = 1e-30 if name.endswith("mean") else 1.0
        errors[name] = float(error.max()), float((error / value.abs().clamp(min=least)).max())
    return errors


@pytest.mark.parametrize("size", [2, 10, 100, 1000])
def test_errors_of_float32_decide_what_goes_to_the_cpu(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = single_precision_errors(size, monkeypatch)
    for name, bound in IN_FLOAT32.items():
        assert errors[name][1] < bound, name
    for name in ("Dirichlet KL", "Dirichlet log density", "scaled Dirichlet KL"):
        assert errors[name][1] > 2e-5, f"{name} would be exact enough in float32"


def test_a_model_of_sounds_plays_without_float64_as_with_it(device: torch.device) -> None:
    time = torch.arange(640) / 16_000
    samples = 0.3 * torch.sin(2 * torch.pi * torch.tensor([[300.0], [450.0]]) * time)
    f0 = torch.tensor([[300.0], [450.0]]).expand(2, 10).clone()
    clips = SoundClips(samples, f0, torch.full((2, 10), -12.0), torch.tensor([640, 320]))
    found = []
    for place in (torch.device("cpu"), device):
        torch.manual_seed(0)
        model = AudioVAE(16_000, preset="tiny", model_size=3, num_harmonics=6, num_bands=5).to(place)
        torch.manual_seed(1)
        there = clips.to(place)
        out = model(there)
        terms = model.loss(there, out)
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        assert all(value.grad is None or value.grad.isfinite().all() for value in model.parameters())
        played = model.reconstruct(there).reconstruction
        level = loudness_curve(played, 16_000).values
        louder = resampled(played, torch.tensor([0.9, 1.2]).to(place), 400)
        values = {**terms, "played": played, "level": level, "louder": louder}
        assert {value.device for value in values.values()} == {played.device}
        found.append({name: value.detach().cpu() for name, value in values.items()})
    for name, value in found[0].items():
        error = (found[1][name] - value).abs().max() / value.abs().max().clamp(min=1e-6)
        assert error < 1e-4, f"{name}: {error}"
